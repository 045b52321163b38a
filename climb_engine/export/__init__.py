"""Mixture to files: weights with their provenance, recipes for training frameworks, data sets drawn by it."""

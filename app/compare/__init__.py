"""Mixtures side by side."""

"""Decisions on clusters: drafted, foretold, written, taken back."""

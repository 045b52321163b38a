"""Domains to a mixture."""

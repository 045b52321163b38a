"""The search: launched, watched, questioned."""

"""Searching all run files for a regular expression, fast."""

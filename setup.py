"""Builds the one native library; everything else is in pyproject.toml."""

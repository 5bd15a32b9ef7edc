"""Kinds of fault that Acme needs, found by gameday through the entry points in pyproject.toml."""

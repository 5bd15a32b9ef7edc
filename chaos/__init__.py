"""Declare a fault, apply it for real, measure what it costs, and always let go."""

__version__ = "0.1.0"

"""The version, in this one file."""

__version__ = "0.1.0"

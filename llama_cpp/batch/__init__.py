"""Offline jobs over many rows; each module here is imported by itself, with what it needs beyond this package."""

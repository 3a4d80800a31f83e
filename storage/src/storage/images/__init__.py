"""Stored images: the port, and where they are kept."""

"""Recordings and run files on disk."""

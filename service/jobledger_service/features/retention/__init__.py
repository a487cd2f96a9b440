"""Deletes what is kept only for a time."""

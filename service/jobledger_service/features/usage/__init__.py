"""Counts of calls by key, method and day."""

"""Concurrency limits: how many jobs of a kind or label run at once."""

"""Deletes old rows: ended jobs, history, requests, ended keys, and statistics."""

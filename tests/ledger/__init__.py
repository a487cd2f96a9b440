"""Tests of the write path, over a real SQLite store."""

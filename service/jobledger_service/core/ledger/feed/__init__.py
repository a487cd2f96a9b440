"""Hands entries to watchers: from memory to those who keep up, from the store to those who lag."""

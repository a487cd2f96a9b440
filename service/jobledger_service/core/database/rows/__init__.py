"""Rows to values and back: what reads and batches have in common."""

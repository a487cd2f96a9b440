"""Deletes what the artifacts of deleted jobs point at, below the roots that the operator allowed."""

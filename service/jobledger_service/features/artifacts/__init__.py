"""Deletes the files and objects of deleted jobs' artifacts, below the roots that the operator allows."""

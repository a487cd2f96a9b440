"""The commands that create, read and change jobs."""

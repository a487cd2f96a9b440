"""Integrations of external engines: attempts in an engine's processes, pushes to its queue, and stops of its tasks."""

"""For work that outside engines run: attempts in an engine's own processes, pushing chunks to it, and stopping it."""

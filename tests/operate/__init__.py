"""How a server is run: its settings, what it tells of itself, and its back-ups."""

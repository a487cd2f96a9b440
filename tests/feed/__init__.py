"""The feed in memory alone: no server, no database."""

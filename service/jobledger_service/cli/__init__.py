"""The commands of jobledger-server."""

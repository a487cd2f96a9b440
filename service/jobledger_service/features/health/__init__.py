"""Whether this server and its database are healthy."""

"""Who is let in, what they may, and how much: keys, roles, owners, TLS, limits and usage."""

"""Which jobs a caller means: filters, searches, and labels with an index."""

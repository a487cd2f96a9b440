"""Who called what, and how often, by day."""

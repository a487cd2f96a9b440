"""What the server tells Prometheus of itself; the only room that knows Prometheus."""

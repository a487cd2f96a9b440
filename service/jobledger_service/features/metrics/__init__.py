"""Metrics for Prometheus: the registry, the listener, and the metrics of the core."""

"""Events of jobs, delivered to HTTP endpoints."""

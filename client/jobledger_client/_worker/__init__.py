"""The runner for workers: it claims chunks, calls handlers, and reports their ends."""

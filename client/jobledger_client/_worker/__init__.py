"""The runner for workers: claims chunks, calls handlers, and reports what became of them."""

"""Bulk runs: one verb over many jobs, run by a job of the service's own."""

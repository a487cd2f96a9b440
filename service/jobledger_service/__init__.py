"""Jobledger: the system of record for long-running jobs, served over gRPC."""

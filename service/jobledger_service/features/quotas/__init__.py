"""Quotas of owners: unfinished jobs, stored jobs, bytes of artifacts, open watches."""

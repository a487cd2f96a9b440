"""Quotas of owners: unfinished jobs, stored jobs, open watches."""

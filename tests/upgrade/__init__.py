"""Databases of released versions, and what becomes of them under this one."""

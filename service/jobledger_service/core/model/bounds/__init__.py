"""How large and how many: limits of values, sizes, quotas and slots."""

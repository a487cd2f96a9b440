"""A long run under load, kills and retention, after which nothing may have grown."""

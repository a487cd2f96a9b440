"""All jobs that match a filter, as of one position, as CSV or JSON Lines."""

"""All jobs that match a filter, as they were at one position, as CSV or JSON Lines."""

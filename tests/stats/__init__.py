"""Statistics: what they count, how exact they are, and what they cost."""

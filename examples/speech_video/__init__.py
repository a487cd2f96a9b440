"""Speech-driven video: an audio file is cut at its pauses, and each segment becomes video on a rented GPU."""

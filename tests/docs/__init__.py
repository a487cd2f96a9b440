"""What the documents show runs, and what they list is complete."""

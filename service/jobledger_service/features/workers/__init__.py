"""The workers that claim: their names, owners, kinds, and times of last contact."""

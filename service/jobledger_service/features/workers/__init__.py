"""The workers that claim: who they are, for whom, and when they were last heard."""

"""Jobs from another system, with their history."""

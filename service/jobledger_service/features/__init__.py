"""What Jobledger does beside its core: a folder each; none imports another."""

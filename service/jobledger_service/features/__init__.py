"""The features beside the core: a folder each; none imports another."""

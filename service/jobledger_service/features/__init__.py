"""The features beside the core: one folder each, which import no other feature."""

"""Tests of the examples: each answers what its callers ask, field by field."""

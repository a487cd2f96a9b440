"""Tests of the store's own promises."""

"""The contract of Jobledger: generated messages and stubs, one package a version."""

"""The contract of Jobledger: generated messages and stubs, one package a version."""

__version__ = "0.1.0"

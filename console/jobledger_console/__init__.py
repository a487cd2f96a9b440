"""The console of Jobledger: web pages for people, made from the public SDK alone."""

__version__ = "0.1.0"

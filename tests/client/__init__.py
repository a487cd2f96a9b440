"""Tests of the SDK, the worker runner and the command line."""

"""The tests of the console, in a browser."""

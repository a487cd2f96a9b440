"""The tests: black boxes against a real server, and the rooms of the house by themselves."""

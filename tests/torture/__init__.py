"""The torture harness: a recorded load, faults beneath it, and a checker of the history guarantee by guarantee."""

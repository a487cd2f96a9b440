"""The main job on real input: hash and count the source files of Python's standard library, 50 files a chunk."""

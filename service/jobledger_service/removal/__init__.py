"""Deletes files and objects below allowed roots; the only room that touches what artifacts point at."""

"""The way of a write: a command comes in, a commit goes out."""

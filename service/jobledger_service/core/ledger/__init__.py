"""Commands, group commit, events, cursors, the watch, and what they need of the store."""

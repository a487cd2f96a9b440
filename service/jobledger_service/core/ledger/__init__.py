"""Commands, group commit, events, cursors, the watch, and the ports of the store."""

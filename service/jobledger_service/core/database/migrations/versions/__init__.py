"""One file a step; a step that differs between databases has its SQL beside it."""

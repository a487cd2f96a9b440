"""The commands whose display follows the changes of jobs."""

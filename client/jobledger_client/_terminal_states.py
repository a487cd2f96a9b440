"""The states in which a job has ended."""

from jobledger_client._generated._enums import JobState

TERMINAL_STATES = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})

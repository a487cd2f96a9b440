"""The exit codes of both command lines. 64 and above are those of sysexits.h; 2 is a convention of shells."""

import grpc

from jobledger_client._error_groups import JobledgerError
from jobledger_client._generated._enums import JobState

DONE = 0
USAGE = 2
SOME_REFUSED = 3
CANCELLED = 4
REFUSED = 65
NOT_FOUND = 66
UNAVAILABLE = 69
DEFECT = 70
INPUT_OUTPUT = 74
MISSING_EXTRA = 78
INTERRUPTED = 130

BY_STATE: dict[int, int] = {
    JobState.COMPLETED: 0,
    JobState.FAILED: 1,
    JobState.CANCELLED: CANCELLED,
}

_BY_CODE = {
    grpc.StatusCode.NOT_FOUND: NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE: UNAVAILABLE,
    grpc.StatusCode.INTERNAL: DEFECT,
    grpc.StatusCode.DATA_LOSS: DEFECT,
    grpc.StatusCode.UNKNOWN: DEFECT,
    grpc.StatusCode.DEADLINE_EXCEEDED: 75,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 75,
    grpc.StatusCode.UNAUTHENTICATED: 77,
    grpc.StatusCode.PERMISSION_DENIED: 77,
}

TABLE = (
    "0    success; `watch`, `--wait`: the job is COMPLETED",
    "1    the job is FAILED (`watch`, `--wait`); the receiver refused the event (`webhooks ping`)",
    "2    the command line is invalid",
    "3    the run over many jobs has ended, and some jobs refused the verb",
    "4    the job is CANCELLED (`watch`, `--wait`)",
    "65   the server refused the request",
    "66   the job, chunk, webhook or delivery does not exist",
    "69   the server is unreachable",
    "70   the server, or this command, has a defect",
    "74   a file, a pipe or an outbox could not be read or written",
    "75   --timeout has passed, or the server is busy: repeat the command",
    "77   the API key does not permit the call",
    "78   an extra, or the driver of a database, is not installed",
    "130  interrupted",
)


def exit_code(error: JobledgerError) -> int:
    """Return the exit code for a failed call."""
    return _BY_CODE.get(error.code, REFUSED)

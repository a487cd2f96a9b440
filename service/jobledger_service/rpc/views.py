"""How much of a job, and which of its changes, a request asks for."""

from jobledger.v1 import job_pb2
from jobledger.v1 import job_service_pb2 as api

from jobledger_service.domain.errors import InvalidField
from jobledger_service.ledger.watch import Mode


def is_full(view: int, *, absent: bool) -> bool:
    """Return whether a view is FULL; `absent` is what UNSPECIFIED means."""
    match view:
        case job_pb2.JOB_VIEW_UNSPECIFIED:
            return absent
        case job_pb2.JOB_VIEW_BASIC | job_pb2.JOB_VIEW_FULL:
            return view == job_pb2.JOB_VIEW_FULL
    raise InvalidField(("view", f"{view} is not a view"))


def watch_mode(mode: int) -> Mode:
    """Return the mode of a watch."""
    match mode:
        case api.WATCH_MODE_UNSPECIFIED | api.WATCH_MODE_LATEST:
            return Mode.LATEST
        case api.WATCH_MODE_EVERY:
            return Mode.EVERY
    raise InvalidField(("mode", f"{mode} is not a mode"))

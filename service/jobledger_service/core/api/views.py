"""Views of jobs, and modes of watches, of requests."""

from typing import Final, cast

from jobledger.v1 import job_pb2
from jobledger.v1 import job_service_pb2 as api

from jobledger_service.core.ledger.watch import Mode
from jobledger_service.core.model.errors import InvalidField
from jobledger_service.core.store.reads import View
from jobledger_service.transport.checks import must_be_one_of

_VIEWS: Final = {job_pb2.JobView.Value(f"JOB_VIEW_{view}"): view for view in View}


def view(given: int, *, absent: View) -> View:
    """Return the view of a request; `absent` is the meaning of UNSPECIFIED."""
    if given == job_pb2.JOB_VIEW_UNSPECIFIED:
        return absent
    found = _VIEWS.get(cast("job_pb2.JobView.ValueType", given))
    if found is None:
        raise InvalidField(("view", must_be_one_of(given, View)))
    return found


def watch_mode(mode: int) -> Mode:
    """Return the mode of a watch."""
    match mode:
        case api.WATCH_MODE_UNSPECIFIED | api.WATCH_MODE_LATEST:
            return Mode.LATEST
        case api.WATCH_MODE_EVERY:
            return Mode.EVERY
    raise InvalidField(("mode", must_be_one_of(mode, Mode)))

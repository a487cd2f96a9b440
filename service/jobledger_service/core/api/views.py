"""Views of jobs, of requests."""

from typing import Final, cast

from jobledger.v1 import job_pb2

from jobledger_service.core.model.errors import InvalidField
from jobledger_service.core.store.reads import View

from .checks import must_be_one_of

_VIEWS: Final = {job_pb2.JobView.Value(f"JOB_VIEW_{view}"): view for view in View}


def view(given: int, *, absent: View) -> View:
    """Return the view of a request; `absent` is the meaning of UNSPECIFIED."""
    if given == job_pb2.JOB_VIEW_UNSPECIFIED:
        return absent
    found = _VIEWS.get(cast("job_pb2.JobView.ValueType", given))
    if found is None:
        raise InvalidField(("view", must_be_one_of(given, View)))
    return found

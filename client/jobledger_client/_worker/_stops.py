"""Why an attempt must stop, in words for people."""

from collections.abc import Mapping
from typing import Final

from jobledger.v1.worker_service_pb2 import LeaseStop

from jobledger_client._generated._enums import StopCause

_CAUSES: Final[Mapping[int, str]] = {
    StopCause.JOB_CANCELLED: "the job is cancelled",
    StopCause.JOB_FAILED: "another chunk failed the job",
    StopCause.RUN_TIMED_OUT: "the run took longer than its run_timeout",
    StopCause.ATTEMPT_TIMED_OUT: "the attempt took longer than its attempt_timeout",
    StopCause.LEASE_EXPIRED: "it was not extended in time",
    StopCause.ATTEMPT_ENDED: "another report ended the attempt",
    StopCause.SUPERSEDED: "another attempt has begun",
    StopCause.NOT_FOUND: "its job was deleted, or the database was restored",
}


def stop_message(stop: LeaseStop) -> str:
    """Return what the service says about the end of a lease, with the caller's reason."""
    cause = _CAUSES.get(stop.cause, "it must stop")
    return f"{cause}: {stop.reason}" if stop.reason else cause

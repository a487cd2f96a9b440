"""Each refusal has a status, and what a report calls a refusal is what a call that is refused carries."""

from collections.abc import Iterator
from typing import Any

from jobledger.v1.reasons import CODES
from jobledger_service.core.api import errors as core_statuses
from jobledger_service.core.current_call import DeadlinePassedError
from jobledger_service.core.model.refusals import access_errors, limit_errors  # noqa: F401 - declares refusals
from jobledger_service.core.model.refusals.errors import Refusal
from jobledger_service.core.model.refusals.limit_errors import QueueFull, TooManyReads
from jobledger_service.transport import errors as call_statuses
from jobledger_service.transport.errors import Refused
from jobledger_service.transport.refusals import CallRefused, InFlightFull, ReplyUnsent, RequestTimedOut


def leaves(kind: type[Any]) -> Iterator[type[Any]]:
    below = kind.__subclasses__()
    if not below:
        yield kind
    for one in below:
        yield from leaves(one)


def answered(error: Exception, *, away: bool = False) -> Refused | None:
    return core_statuses.refused_by_core(error, lambda _: b"", lambda: away) or call_statuses.refused_by_transport(
        error
    )


def test_each_refusal_has_a_reason_of_the_contract():
    refusals = {
        one for one in (*leaves(CallRefused), *leaves(Refusal)) if one.__module__.startswith("jobledger_service.")
    }
    without = {ReplyUnsent, RequestTimedOut}
    assert {refusal.reason for refusal in refusals - without} == CODES.keys() - {"INTERNAL"}
    assert {refusal.reason for refusal in without} == {""}


def test_an_overload_is_reported_as_the_lost_database_that_it_comes_from():
    overloads: list[tuple[Exception, str]] = [
        (QueueFull("age", 1_000_000), "age"),
        (InFlightFull("calls"), "calls"),
        (TooManyReads("alice", 1), ""),
    ]
    for error, bound in overloads:
        away, otherwise = answered(error, away=True), answered(error)
        assert away is not None
        assert (away.status.code.name, away.reason, away.bound) == ("UNAVAILABLE", "STORE_UNAVAILABLE", bound)
        assert otherwise is not None
        assert (otherwise.status.code.name, otherwise.bound) == ("RESOURCE_EXHAUSTED", bound)


def test_a_call_that_nobody_waits_for_has_a_code_alone_and_a_defect_has_nothing():
    for error in (DeadlinePassedError(), RequestTimedOut(30)):
        refused = answered(error)
        assert refused is not None
        assert (refused.status.code.name, refused.status.details) == ("DEADLINE_EXCEEDED", str(error))
        assert (refused.reason, refused.bound) == ("", "")
    assert answered(ZeroDivisionError()) is None

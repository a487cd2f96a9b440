"""Each refusal has a status, and what a report calls a refusal is what a call that is refused carries."""

from collections.abc import Iterator

from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger_service.core.api import errors as core_statuses
from jobledger_service.core.model.refusals import access_errors, limit_errors  # noqa: F401 - declares refusals
from jobledger_service.core.model.refusals.errors import Refusal, StoreUnavailable
from jobledger_service.core.model.refusals.limit_errors import QueueFull, TooManyReads
from jobledger_service.core.sharing.current_call import DeadlinePassedError
from jobledger_service.transport import errors as call_statuses
from jobledger_service.transport.errors import Refused
from jobledger_service.transport.refusals import CallRefused, InFlightFull, ReplyUnsent, RequestTimedOut


def leaves(kind: type[Exception]) -> Iterator[type[Exception]]:
    below = kind.__subclasses__()
    if not below:
        yield kind
    for one in below:
        yield from leaves(one)


def answered(error: Exception, *, away: bool = False) -> Refused | None:
    return core_statuses.refused_by_core(error, lambda _: b"", lambda: away) or call_statuses.refused_by_transport(
        error
    )


def test_each_refusal_has_a_status():
    of_calls = {one for one in leaves(CallRefused) if one.__module__ == CallRefused.__module__}
    of_core = {one for one in leaves(Refusal) if one.__module__.startswith("jobledger_service.")}
    assert set(call_statuses._TABLE) | {InFlightFull, ReplyUnsent, RequestTimedOut} == of_calls
    assert set(core_statuses._TABLE) | {QueueFull, StoreUnavailable} == of_core


def test_a_refusal_of_the_core_knows_the_name_of_its_reason():
    table = core_statuses._TABLE
    reported = {refusal.__new__(refusal).reason: ErrorReason.Name(number) for refusal, (_, number) in table.items()}
    assert reported == {name.removeprefix("ERROR_REASON_"): name for name in reported.values()}
    assert len(reported) == len(table)


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

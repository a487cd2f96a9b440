"""What a report calls a refusal is what a call that is refused carries."""

from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger_service.core.api.errors import _TABLE


def test_a_refusal_knows_the_name_of_its_reason():
    told = {refusal.__new__(refusal).reason: ErrorReason.Name(number) for refusal, (_, number) in _TABLE.items()}
    assert told == {name.removeprefix("ERROR_REASON_"): name for name in told.values()}
    assert len(told) == len(_TABLE)

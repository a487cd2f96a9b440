"""What the comments of the contract say of roles, classes and reasons is what the server declares and does.

That the server refuses no call for another reason is held by all tests: it logs such a refusal as a defect, and none of
their servers may have logged one.
"""

import re

import pytest
from google.rpc import code_pb2
from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger_service.core.api import errors as core_statuses
from jobledger_service.transport import errors as call_statuses
from jobledger_service.transport.methods import ANY_CALL, ANY_READ, Method

from tests.support.comments import comments
from tests.support.methods import METHODS

pytestmark = pytest.mark.one_store("the contract has no store")

CODES = {
    call_statuses.reason_name(reason): code_pb2.Code.Name(code)
    for table in (core_statuses._TABLE, call_statuses._TABLE)
    for code, reason in table.values()
} | {"QUEUE_FULL": "RESOURCE_EXHAUSTED", "STORE_UNAVAILABLE": "UNAVAILABLE", "INTERNAL": "INTERNAL"}
OURS = {name: method for name, method in METHODS.items() if name.startswith("jobledger.v1.")}
FORM = re.compile(r"Role: (\w+).*?\. Class: (\w+)\. Errors: (.+?) Retry: .+\.$")


def listed(text: str) -> dict[str, str]:
    """Return the reasons that a text lists as CODE (REASON, REASON), each with its code."""
    return {
        reason: code
        for code, reasons in re.findall(r"\b([A-Z_]+) \(([A-Z_]+(?:, [A-Z_]+)*)\)", text)
        for reason in reasons.split(", ")
    }


def with_codes(reasons: "frozenset[str] | set[str]") -> dict[str, str]:
    return {reason: CODES[reason] for reason in reasons}


@pytest.mark.guarantee("3e.7")
@pytest.mark.parametrize("method", OURS.values(), ids=lambda one: one.full_name.removeprefix("jobledger.v1."))
def test_the_comment_of_a_method_has_its_role_its_class_and_exactly_its_reasons(method: Method):
    said = FORM.search(comments()[method.full_name])
    assert said is not None, comments()[method.full_name]
    assert (said[1], said[2]) == (method.role, method.kind.upper())
    assert listed(said[3]) == with_codes(set(method.reasons))
    assert method.reasons or said[3].startswith("none of its own.")


@pytest.mark.guarantee("3e.7")
def test_the_reasons_of_any_call_are_listed_once():
    _, any_call, any_read = re.split(
        r"- (?:any call|a call of the class READ or WATCH):", comments()["jobledger.v1.ErrorReason"]
    )
    assert listed(any_call) == with_codes(ANY_CALL | {"INTERNAL"})
    assert listed(any_read) == with_codes(ANY_READ)


def test_a_method_repeats_no_reason_of_its_class():
    for method in METHODS.values():
        assert set(method.reasons).isdisjoint(ANY_CALL), method.full_name
        assert len(set(method.reasons)) == len(method.reasons), method.full_name
        assert all(reason in CODES for reason in method.reasons), method.full_name


def test_each_reason_is_one_of_a_method():
    assert {reason for method in METHODS.values() for reason in method.all_reasons} == set(CODES) - {"INTERNAL"}


def test_reasons_are_numbered_without_gaps():
    assert sorted(ErrorReason.values()) == [*range(len(ErrorReason.values()))]


def test_the_comment_of_a_reason_has_its_code():
    for name in set(ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"}:
        code = CODES[name.removeprefix("ERROR_REASON_")]
        assert comments()[f"jobledger.v1.{name}"].startswith(f"{name} ({code}) "), name

"""What the comments of the contract say of roles, classes and reasons is what the server declares and does.

That the server refuses no call for another reason is held by all tests: it logs such a refusal as a defect, and none of
their servers may have logged one.
"""

import re

import pytest
from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger.v1.reasons import ANY_CALL, CODES
from jobledger_service.transport.methods import Method

from tests.support.comments import comments
from tests.support.methods import METHODS

pytestmark = pytest.mark.one_store("the contract has no store")

OURS = {name: method for name, method in METHODS.items() if name.startswith("jobledger.v1.")}
FORM = re.compile(r"Role: (\w+).*?\. Class: (\w+)\. ")


@pytest.mark.guarantee("3e.7")
@pytest.mark.parametrize("method", OURS.values(), ids=lambda one: one.full_name.removeprefix("jobledger.v1."))
def test_the_comment_of_a_method_has_its_role_and_its_class(method: Method):
    said = FORM.search(comments()[method.full_name])
    assert said is not None, comments()[method.full_name]
    assert (said[1], said[2]) == (method.role, method.kind.upper())


def test_a_method_repeats_no_reason_of_its_class():
    for method in METHODS.values():
        assert set(method.reasons).isdisjoint(ANY_CALL), method.full_name
        assert len(set(method.reasons)) == len(method.reasons), method.full_name
        assert all(reason in CODES for reason in method.reasons), method.full_name


def test_each_reason_is_one_of_a_method():
    assert {reason for method in METHODS.values() for reason in method.all_reasons} == set(CODES) - {"INTERNAL"}


def test_reasons_are_numbered_without_gaps():
    assert sorted(ErrorReason.values()) == [*range(len(ErrorReason.values()))]

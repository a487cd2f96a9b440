"""Each test that a document names by its name is there."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

ROOT = Path(__file__).parents[2]
DEFINED = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), flags=re.MULTILINE)
}


def test_each_test_of_the_watch_is_named():
    numbered = re.findall(r"`(test_\d\d_\w+)`", (ROOT / "docs" / "guarantees.md").read_text())
    assert numbered == sorted(name for name in DEFINED if re.match(r"test_\d\d_", name))


def test_each_guarantee_names_tests_that_are_there():
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text())
    assert len(named) > 50
    assert [name for name in named if name not in DEFINED] == []

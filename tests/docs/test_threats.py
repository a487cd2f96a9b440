"""Each entry of docs/adr/0066 names a test that tries it, and each of these tests is there."""

import re

import pytest

from tests.docs.documents import ROOT

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

[RECORD] = (ROOT / "docs" / "adr").glob("0066-*.md")
ENTRY = re.compile(r"^- \*\*(.+?):\*\*\s+(.+?)\s+\((`test_.+?`)\)\.$", re.MULTILINE | re.DOTALL)
THREATS = ENTRY.findall(RECORD.read_text())
DEFINED = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), flags=re.MULTILINE)
}


def test_every_entry_is_a_threat_with_its_tests():
    assert len(THREATS) == RECORD.read_text().count("\n- ") > 40


@pytest.mark.parametrize(("threat", "stopped_by", "tests"), THREATS, ids=[threat for threat, _, _ in THREATS])
def test_a_threat_names_tests_that_are_there(threat: str, stopped_by: str, tests: str):
    assert threat
    assert stopped_by
    assert set(re.findall(r"`(\w+)`", tests)) <= DEFINED

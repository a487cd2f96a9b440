"""Each row of docs/adr/0066 names a test that tries it, and each of these tests is there."""

import re

import pytest

from tests.docs.documents import ROOT

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

[RECORD] = (ROOT / "docs" / "adr").glob("0066-*.md")
ROWS = [line for line in RECORD.read_text().splitlines() if line.startswith("| ") and not line.startswith("| does |")]
THREATS = [line for line in ROWS if not line.startswith("| happens |")]
DEFINED = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), flags=re.MULTILINE)
}


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row.split("|")[1].strip())
def test_a_threat_names_tests_that_are_there(row: str):
    _, _, stopped_by, tests, _ = row.split("|")
    named = re.findall(r"`(test_\w+)`", tests)
    assert stopped_by.strip()
    assert named
    assert set(named) <= DEFINED

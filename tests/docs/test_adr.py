"""Decisions are numbered without gaps, each number is there once, and the index names them all by their titles."""

import re

import pytest

from tests.docs.documents import ROOT

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

FOLDER = ROOT / "docs" / "adr"
FILES = sorted(FOLDER.glob("[0-9]*.md"))
ENTRY = re.compile(r"^- (\d+\. )\[(.+)\]\((.+)\)$", re.MULTILINE)


def test_decisions_are_numbered_without_gaps():
    assert [int(file.name[:4]) for file in FILES] == [*range(1, len(FILES) + 1)]


def test_the_index_names_each_decision_by_its_title():
    listed = {file: f"# {number}{title}" for number, title, file in ENTRY.findall((FOLDER / "README.md").read_text())}
    assert listed == {file.name: file.read_text().splitlines()[0] for file in FILES}

"""Each number of a decision is there once, and the index names them all by their titles."""

import re

import pytest

from tests.docs.documents import ROOT

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

FOLDER = ROOT / "docs" / "adr"
FILES = sorted(FOLDER.glob("[0-9]*.md"))
ENTRY = re.compile(r"^- (\d+\. )\[(.+)\]\((.+)\)$", re.MULTILINE)


def test_each_number_of_a_decision_is_there_once():
    assert len({file.name[:4] for file in FILES}) == len(FILES)


def test_the_index_names_each_decision_by_its_title():
    listed = {file: f"# {number}{title}" for number, title, file in ENTRY.findall((FOLDER / "README.md").read_text())}
    assert listed == {file.name: file.read_text().splitlines()[0] for file in FILES}

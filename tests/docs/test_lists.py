"""Links lead somewhere, and what the documents list is what there is."""

import re
from pathlib import Path

import pytest
from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger.v1.job_pb2 import JobState
from jobledger_service.core.api.checks import SCHEMES
from jobledger_service.features.exports.lines import EXPORT_COLUMNS
from jobledger_service.settings import SETTINGS

from tests.docs.documents import DOCUMENTS, ROOT, name_of

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    """Return a document."""
    return (ROOT / name).read_text()


def first_cells(text: str) -> set[str]:
    """Return what stands in the first column of a document's tables."""
    return {row.split("|")[1].strip().strip("`") for row in text.splitlines() if row.startswith("|")}


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(path: Path):
    for link in LINK.findall(CODE.sub("", path.read_text())):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), link
        assert not anchor or anchor in anchors(found), link


def test_the_errors_named_in_the_page_are_reasons():
    reasons = {name.removeprefix("ERROR_REASON_") for name in dict(ErrorReason.items())}
    section = read("docs/errors.md").split("## What to send again")[1].split("## Safe repeats")[0]
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", section))
    assert len(named) > 10
    assert named <= reasons


def test_every_setting_is_reported_with_its_default():
    rows = read("docs/settings.md").splitlines()
    for name, setting in SETTINGS.items():
        [row] = [row for row in rows if row.startswith(f"| `{name}` |")]
        default = str(setting.default).lower()
        if type(setting.default) in (int, float):
            default = f"{setting.default:,}"
        reported = re.sub(r" \(\d+ days\)$", "", row.split("|")[2].replace("`", "").strip())
        assert reported == default.removesuffix(".0"), name


def test_every_state_is_reported():
    states = {name.removeprefix("JOB_STATE_") for name in dict(JobState.items())}
    assert states - {"UNSPECIFIED"} <= first_cells(read("docs/concepts.md"))


def test_every_column_of_an_export_is_reported_in_its_order():
    rows = [row for row in read("docs/export.md").splitlines() if row.startswith("| `")]
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])] == list(EXPORT_COLUMNS)


def test_every_scheme_is_reported():
    [row] = [row for row in read("docs/limits.md").splitlines() if row.startswith("| `uri` of an artifact")]
    assert set(re.findall(r"[a-z0-9]+", row.split(";")[1])) == SCHEMES

"""The dashboard and the alert rules ask for metrics that there are, and each alert says what to do."""

import json
import re
from collections.abc import Iterator

import yaml

from tests.docs.documents import ROOT
from tests.docs.test_lists import anchors
from tests.operate.conftest import Scrape, scrape
from tests.support.api import Api
from tests.support.server import Server

METRIC = re.compile(r"\b(?:jobledger|grpc|process|python)_[a-z0-9_]+\b(?!=)")
LABELS = re.compile(r"\{[^}]*\}")
ALERTS = ROOT / "docs" / "alerts.yml"
DASHBOARD = ROOT / "docs" / "grafana" / "jobledger.json"
# Prometheus itself makes these of what it scrapes.
OF_PROMETHEUS = {"up"}


def rules() -> list[dict[str, str]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, object]]:
    return json.loads(DASHBOARD.read_text())["panels"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel.get("targets", []))
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    yield from (one["definition"] for one in variables if one["type"] == "query")


def named(expression: str) -> set[str]:
    """Return the metrics that an expression names, without its labels and groupings."""
    bare = re.sub(r"\b(by|without)\s*\([^)]*\)", "", LABELS.sub("", expression))
    return set(METRIC.findall(bare))


def labels(expression: str) -> set[tuple[str, str]]:
    """Return the labels that an expression selects by, with the metric of each."""
    found = re.findall(r"([a-z_0-9]+)\{([^}]*)\}", expression)
    return {(metric, label) for metric, inside in found for label in re.findall(r"([a-z_]+)\s*[=!]", inside)}


def known(told: Scrape) -> set[tuple[str, str]]:
    return {(name, label) for name, its, _ in told.samples for label in its}


async def test_every_metric_that_is_asked_for_is_there(server: Server, api: Api, kind: str, store: str):
    await api.create(kind)  # so that each histogram has its samples
    told = scrape(server)
    asked = {name for expression in expressions() for name in named(expression)}
    missing = asked - told.names - OF_PROMETHEUS
    assert missing <= ({"jobledger_disk_free_bytes"} if store == "postgresql" else set())
    assert len(asked) > 20


async def test_every_label_that_is_selected_by_is_there(server: Server, api: Api, kind: str):
    await api.create(kind)
    added_by_prometheus = {"instance", "job"}
    asked = {pair for expression in expressions() for pair in labels(expression) if pair[1] not in added_by_prometheus}
    assert asked - known(scrape(server)) == set()
    assert asked


def test_every_alert_says_what_to_do():
    there = anchors(ROOT / "docs" / "operating.md")
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"operating.md#{rule['alert'].lower()}"
        assert rule["alert"].lower() in there
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_every_panel_has_an_id_and_a_place_of_its_own():
    assert len({panel["id"] for panel in panels()}) == len(panels())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)
    assert all(panel.get("targets") for panel in panels() if panel["type"] != "row")

"""The dashboard and the alert rules ask for metrics that there are, and each alert says what to do."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml
from jobledger.v1.admin_service_pb2_grpc import AdminServiceStub
from jobledger.v1.system_health_pb2 import GetSystemHealthRequest
from promql_parser import AggregateExpr, Expr, VectorSelector, parse, walk

from tests.docs.documents import ROOT
from tests.docs.test_lists import anchors
from tests.operate.conftest import Scrape, scrape
from tests.support.api import Api
from tests.support.server import Server

LABEL_VALUES = re.compile(r"label_values\((.*), \w+\)")  # Grafana's own
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
    queries = [one["definition"] for one in variables if one["type"] == "query"]
    yield from (LABEL_VALUES.fullmatch(query)[1] for query in queries)


def parsed(expression: str) -> Expr:
    """Return an expression as Prometheus reads it, with the dashboard's variables filled in; raises ValueError."""
    return parse(expression.replace("$__rate_interval", "5m").replace("$__range", "1h"))


def parts(expression: Expr) -> list[Expr]:
    """Return an expression and all that it is made of."""
    found: list[Expr] = []
    walk(expression, found.append)
    return found


def selectors(expression: Expr) -> list[VectorSelector]:
    """Return what an expression picks, also over a span."""
    picked = [getattr(part, "vector_selector", part) for part in parts(expression)]
    return [one for one in picked if isinstance(one, VectorSelector)]


def named(expression: str) -> set[str]:
    """Return the metrics that an expression names."""
    return {one.name for one in selectors(parsed(expression))}


def labels(expression: str) -> set[tuple[str, str]]:
    """Return the labels that an expression selects or groups by, each with the metrics that it is to be on."""
    whole = parsed(expression)
    by = {(one.name, matcher.name) for one in selectors(whole) for matcher in one.matchers.matchers}
    for part in parts(whole):
        if isinstance(part, AggregateExpr) and part.modifier is not None:
            by |= {(one.name, label) for one in selectors(part.expr) for label in part.modifier.labels}
    return by


def known(reported: Scrape) -> set[tuple[str, str]]:
    return {(name, label) for name, its, _ in reported.samples for label in its}


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_prometheus_can_read_it(expression: str):
    assert "$" not in parsed(expression).prettify().replace("$instance", "")


@pytest.mark.parametrize("wrong", ["sum(up", "rate(up)", "sum(up[5m])", "no_such(up)", "up{job=}"])
def test_what_is_wrong_would_be_found(wrong: str):
    with pytest.raises(ValueError, match=r"\w"):
        parsed(wrong)


async def scraped_after_a_call(server: Server, api: Api, kind: str) -> Scrape:
    """Read the metrics when each histogram has its samples, and the server has looked at its health."""
    await api.create(kind)
    await AdminServiceStub(api.channel).GetSystemHealth(GetSystemHealthRequest())
    return scrape(server)


async def test_every_metric_that_is_asked_for_is_there(server: Server, api: Api, kind: str, store: str):
    reported = await scraped_after_a_call(server, api, kind)
    requested = {name for expression in expressions() for name in named(expression)}
    missing = requested - reported.names - OF_PROMETHEUS
    assert missing <= ({"jobledger_disk_free_bytes"} if store == "postgresql" else set())
    assert len(requested) > 20


async def test_every_label_that_is_selected_by_is_there(server: Server, api: Api, kind: str):
    reported = await scraped_after_a_call(server, api, kind)
    added_by_prometheus = {"instance", "job"}
    requested = {
        pair for expression in expressions() for pair in labels(expression) if pair[1] not in added_by_prometheus
    }
    assert requested - known(reported) == set()
    assert requested


def test_every_alert_reports_what_to_do():
    there = anchors(ROOT / "docs" / "operations" / "runbooks.md")
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"operations/runbooks.md#{rule['alert'].lower()}"
        assert rule["alert"].lower() in there
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
    assert {one for one in there if one.startswith("jobledger")} == {rule["alert"].lower() for rule in rules()}


def test_every_panel_has_an_id_and_a_place_of_its_own():
    assert len({panel["id"] for panel in panels()}) == len(panels())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)
    assert all(panel.get("targets") for panel in panels() if panel["type"] != "row")

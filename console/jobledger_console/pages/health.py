"""The page of health: what GetSystemHealth says of a server, part by part."""

from collections.abc import Iterator, Mapping
from typing import Final

from jobledger.v1.system_health_pb2 import ComponentHealth, SystemHealth
from jobledger_client import SystemStatus
from nicegui import ui

from jobledger_console.components.facts import show_facts
from jobledger_console.components.messages import show_heading
from jobledger_console.components.states import show_state
from jobledger_console.page import Page, PageKind
from jobledger_console.pages.reading import Reading
from jobledger_console.wording import duration, local_time, plural, seconds, size

_READ_SECONDS: Final = 5.0
_MANY: Final = 10_000
"""Counts of deliveries end here."""

Facts = Mapping[str, str]


async def build(page: Page) -> None:
    """Draw the page."""
    client = page.client
    with ui.element("div").classes("row-of page-head"):
        show_heading("Health", 1)
    place: list[ui.element] = []

    def draw(health: SystemHealth) -> None:
        if not place:
            place.append(ui.element("div"))
        place[0].clear()
        with place[0]:
            _show(health)

    reading = Reading[SystemHealth](page, draw, seconds=_READ_SECONDS)
    reading.ask("health", lambda _: client.admin.get_system_health())


def _show(health: SystemHealth) -> None:
    status = SystemStatus(health.status).name
    with ui.element("section").classes("card health-status"):
        with ui.element("div").classes("row-of"):
            show_state(status)
            ui.label(f"version {health.version}, since {local_time(health.start_time)}").classes("quiet")
        for reason in health.reasons:
            ui.label(reason).classes("reason")
        if not health.reasons:
            ui.label("All thresholds are kept: reads, writes and watches work.").classes("quiet")
    with ui.element("div").classes("cards"):
        for title, facts in _parts(health):
            with ui.element("section").classes("card"):
                show_heading(title)
                show_facts(facts)


def _parts(health: SystemHealth) -> Iterator[tuple[str, Facts]]:
    yield "Database", _database(health)
    yield "Writes", _writes(health)
    yield (
        "Watches",
        {
            "Open watches": f"{health.feed.watchers:,}",
            "Position in the ledger": f"{health.feed.position:,}",
            "Behind the ledger": _entries(health.feed.lag),
        },
    )
    yield "Workers", {"Heard at this server within a minute": f"{health.active_workers:,}"}
    if health.HasField("webhooks"):
        webhooks = health.webhooks
        yield (
            "Webhook deliveries",
            {
                "Waiting": _at_most_known(webhooks.pending),
                "Oldest has waited": duration(seconds(webhooks.oldest_age)) if webhooks.HasField("oldest_age") else "–",  # noqa: RUF001 - none
                "Given up": _at_most_known(webhooks.dead),
            },
        )
    if health.replicas:
        yield "Replicas", {replica.name: replica.version for replica in health.replicas}
    if health.components:
        yield "Also needed", {component.name: _state(component) for component in health.components}


def _state(component: ComponentHealth) -> str:
    if not component.HasField("check_time"):
        return "not checked yet"
    return f"{component.problem or 'works'}, at {local_time(component.check_time)}"


def _database(health: SystemHealth) -> Facts:
    database = health.database
    facts = {"Kind": database.kind, "Reachable": "yes" if database.reachable else "no"}
    if not database.reachable:
        return facts
    facts["A small read took"] = duration(seconds(database.latency))
    facts["Size"] = size(database.size_bytes)
    if database.HasField("disk_free_bytes"):
        facts["Free on its disk"] = size(database.disk_free_bytes)
    facts["Schema"] = database.schema_version
    for index in database.label_indexes:
        facts[f"Index of label {index.name}"] = "ready" if index.ready else "not ready: run jobledger-server migrate"
    return facts


def _writes(health: SystemHealth) -> Facts:
    committer = health.committer
    facts = {"Waiting": f"{committer.queued:,} of at most {committer.queue_limit:,}"}
    if committer.last_batch_size:
        facts["Last commit"] = (
            f"{plural(committer.last_batch_size, 'write')} in {duration(seconds(committer.last_commit_duration))}"
        )
        facts["It ended"] = f"{duration(seconds(committer.last_commit_age))} ago"
    if committer.HasField("current_commit_duration"):
        facts["Commit that runs now"] = f"for {duration(seconds(committer.current_commit_duration))}"
    return facts


def _entries(lag: int) -> str:
    return "not at all" if lag == 0 else f"{lag:,} entr{'y' if lag == 1 else 'ies'}"


def _at_most_known(number: int) -> str:
    return f"{number:,}{' or more' if number >= _MANY else ''}"


KINDS: Final = (PageKind("/health", "Health", build, label="Health", for_admins=True),)

"""The page of limits and paused kinds: what may run at once, what waits for it, and what nobody may claim."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jobledger_client import Limit, LimitScope, PausedKind, for_each, for_kind, for_label
from nicegui import ui

from jobledger_console.components.forms import Form, InvalidFieldValueError, Values
from jobledger_console.components.messages import show_button, show_empty, show_heading
from jobledger_console.components.table import Column, DataTable, Row, progress_cell
from jobledger_console.page import Page, PageKind
from jobledger_console.pages.reading import Reading, show_owner
from jobledger_console.wording import plural

_READ_SECONDS: Final = 3.0
_MAX_RUNNING: Final = 1_000_000
_SCOPES: Final = {
    "kind": "all jobs of a kind",
    "label": "jobs with one value of a label",
    "each": "each value of a label",
}
_LIMIT_COLUMNS: Final = (
    Column("scope", "Scope"),
    Column("used", "In use", "progress"),
    Column("ceiling", "Ceiling", "number", optional=True),
    Column("waiting", "Waiting", "number"),
    Column("reason", "Reason"),
    Column("by", "Set by", optional=True),
    Column("since", "Since", "time"),
)
_PAUSE_COLUMNS: Final = (
    Column("kind", "Kind"),
    Column("reason", "Reason"),
    Column("by", "Paused by", optional=True),
    Column("since", "Since", "time"),
)


@dataclass(frozen=True, slots=True)
class _LimitsAndPauses:
    """What is read together."""

    limits: Sequence[Limit]
    paused: Sequence[PausedKind]


class LimitsView:
    """The page, as one visitor sees it."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._may_change = page.access.may_administrate
        self._limits: dict[str, Limit] = {}
        self._drawn: _Drawn | None = None
        self._reading: Reading[_LimitsAndPauses]

    def open(self) -> None:
        """Draw limits and pauses, and keep that true until the page closes."""
        with ui.element("div").classes("row-of page-head"):
            show_heading("Limits", 1)
            ui.element("span").classes("grow")
            if self._may_change:
                show_button("Pause a kind", self._pause)
                show_button("Set a limit", self._set, classes="primary")
        with ui.element("div").classes("filters"):
            show_owner(self._page, self._change)
        self._reading = Reading(self._page, self._draw, seconds=_READ_SECONDS)
        self._ask()

    def _change(self, owner: str) -> None:
        self._page.show_address(owner=owner)
        self._limits = {}
        self._ask()

    def _ask(self) -> None:
        limits = self._page.client.limits

        async def read(owner: str) -> _LimitsAndPauses:
            return _LimitsAndPauses(await limits.list_limits(owner=owner), await limits.list_paused_kinds(owner=owner))

        self._reading.ask("limits", read)

    @property
    def _whose(self) -> str:
        """The end of a title: whose limits these are, unless the key's own."""
        return f", of owner {self._page.owner}" if self._page.owner else ""

    def _draw(self, current: _LimitsAndPauses) -> None:
        if self._drawn is None:
            self._drawn = _Drawn(self)
        self._limits = {str(limit.scope): limit for limit in current.limits}
        self._drawn.update(current, may_change=self._may_change)

    def act_on_limit(self, key: str, name: str) -> None:
        """Change or remove a limit."""
        limit = self._limits.get(key)
        if limit is None:
            return
        if name == "change":
            self._set(limit)
        else:
            self._remove(limit)

    def act_on_pause(self, kind: str, _: str) -> None:
        """Resume a kind."""
        owner = self._page.owner

        async def resume(values: Values) -> str:
            was_paused = await self._page.client.limits.resume_kind(kind, reason=values["reason"], owner=owner)
            self._reading.refresh()
            return f"Kind {kind} is resumed." if was_paused else f"Kind {kind} was not paused any more."

        sentences = ["Workers may claim its chunks again."]
        Form(self._page, f"Resume {kind}{self._whose}", "Resume", resume, sentences=sentences).add_reason()

    def _pause(self) -> None:
        owner = self._page.owner

        async def pause(values: Values) -> str:
            kind = _required(values, "kind", "The kind")
            await self._page.client.limits.pause_kind(kind, values["reason"], owner=owner)
            self._reading.refresh()
            return f"Kind {kind} is paused."

        sentences = ["No worker may claim a chunk of this kind until it is resumed; chunks in work continue."]
        form = Form(self._page, f"Pause a kind{self._whose}", "Pause", pause, sentences=sentences, is_danger=True)
        form.add_input("kind", "Kind", placeholder="crawl.images", max_length=128)
        form.add_reason()

    def _set(self, limit: Limit | None = None) -> None:
        owner = self._page.owner

        async def set_limit(values: Values) -> str:
            scope = limit.scope if limit is not None else _scope(values)
            max_running = _max_running(values)
            reason = values["reason"]
            changed = await self._page.client.limits.set_limit(scope, max_running, reason=reason, owner=owner)
            self._reading.refresh()
            return f"At most {plural(changed.max_running, 'job')} of {changed.scope} may run at once."

        title = (f"Change the limit of {limit.scope}" if limit is not None else "Set a limit") + self._whose
        sentences = ["At most so many jobs of the scope run at once; 0 lets none start. Jobs that run continue."]
        form = Form(self._page, title, "Set", set_limit, sentences=sentences)
        if limit is None:
            form.add_select("over", "Over", _SCOPES, "kind")
            form.add_input("name", "Kind, or name of the label", placeholder="crawl.images", max_length=128)
            form.add_input("value", "Value, for one value of a label", max_length=255)
        now = "" if limit is None else str(limit.max_running)
        form.add_input("max_running", "Jobs at once", now, placeholder="0 to 1,000,000", max_length=9)
        form.add_reason()

    def _remove(self, limit: Limit) -> None:
        owner = self._page.owner

        async def remove(values: Values) -> str:
            await self._page.client.limits.delete_limit(limit.scope, reason=values["reason"], owner=owner)
            self._reading.refresh()
            return f"The limit of {limit.scope} is removed."

        waiting = f"{plural(limit.waiting, 'job')} that wait for it" if limit.waiting else "Jobs that wait for it"
        sentences = [f"{waiting} become claimable."]
        title = f"Remove the limit of {limit.scope}{self._whose}"
        Form(self._page, title, "Remove", remove, sentences=sentences, is_danger=True).add_reason()


class _Drawn:
    """The parts of the page that change."""

    def __init__(self, view: LimitsView) -> None:
        may_change = view._may_change  # noqa: SLF001 - one module
        actions = (Column("change", "Change", "action"), Column("remove", "Remove", "action")) if may_change else ()
        resume = (Column("resume", "Resume", "action"),) if may_change else ()
        self._limits = DataTable((*_LIMIT_COLUMNS, *actions), caption="Limits", on_action=view.act_on_limit)
        self._no_limits = ui.element("div")
        with self._no_limits:
            show_empty("No limits", "Jobs run as soon as a worker claims them.")
        show_heading("Paused kinds").classes("below")
        self._paused = DataTable((*_PAUSE_COLUMNS, *resume), caption="Paused kinds", on_action=view.act_on_pause)
        self._no_paused = ui.element("div")
        with self._no_paused:
            show_empty("No kind is paused")

    def update(self, current: _LimitsAndPauses, *, may_change: bool) -> None:
        """Show other limits and pauses."""
        self._limits.set_rows([_limit_row(limit, may_change=may_change) for limit in current.limits])
        self._limits.set_visibility(bool(current.limits))
        self._no_limits.set_visibility(not current.limits)
        self._paused.set_rows([_pause_row(paused_kind) for paused_kind in current.paused])
        self._paused.set_visibility(bool(current.paused))
        self._no_paused.set_visibility(not current.paused)


def _limit_row(limit: Limit, *, may_change: bool) -> Row:
    percent = min(100 * limit.running / limit.max_running, 100) if limit.max_running else 100 * bool(limit.running)
    used = f"{limit.running:,} of {limit.max_running:,}" if limit.max_running else "0: nothing may start"
    follows = f"follows {LimitScope(label=limit.scope.label)}" if limit.inherited else ""
    state = "CANCELLING" if limit.waiting else "RUNNING"
    return {
        "key": str(limit.scope),
        "scope": str(limit.scope) + (f" ({follows})" if follows else ""),
        "used": progress_cell(percent, state, used),
        "ceiling": "" if limit.ceiling is None else f"{limit.ceiling:,}",
        "waiting": f"{limit.waiting:,}",
        "reason": limit.reason,
        "by": limit.set_by,
        "since": limit.update_time.timestamp() * 1_000 if limit.update_time else None,
        "change": "Change" if may_change else None,
        "remove": "Remove" if may_change and not limit.inherited else None,
    }


def _pause_row(paused: PausedKind) -> Row:
    return {
        "key": paused.kind,
        "kind": paused.kind,
        "reason": paused.reason,
        "by": paused.paused_by,
        "since": paused.pause_time.timestamp() * 1_000,
        "resume": "Resume",
    }


def _scope(values: Values) -> LimitScope:
    name = _required(values, "name", "The kind, or the name of the label,")
    if values["over"] == "kind":
        return for_kind(name)
    return for_each(name) if values["over"] == "each" else for_label(name, values["value"])


def _max_running(values: Values) -> int:
    text = values["max_running"].replace(",", "")
    if not text.isascii() or not text.isdecimal() or int(text) > _MAX_RUNNING:
        raise InvalidFieldValueError(
            f"Jobs at once must be a number from 0 to {_MAX_RUNNING:,}; got {values['max_running']!r}."
        )
    return int(text)


def _required(values: Values, name: str, what: str) -> str:
    if not values[name]:
        raise InvalidFieldValueError(f"{what} must not be empty.")
    return values[name]


async def build(page: Page) -> None:
    """Draw the page."""
    LimitsView(page).open()


KINDS: Final = (PageKind("/limits", "Limits", build, label="Limits"),)

"""A table whose rows change while people look at it. What users wrote is shown as text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from nicegui import ui
from nicegui.events import GenericEventArguments

from jobledger_console.components.states import SIGNS, words

Kind: TypeAlias = Literal["text", "number", "state", "progress", "time", "eta", "link", "lines", "action"]
Row: TypeAlias = Mapping[str, Any]
"""The cells of a row by the names of columns, and its `key`. None is an empty cell."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column. Narrow screens leave out those that are `optional`.

    The cells of each kind: text and number: a string; lines: strings; state: `state_cell`; progress: `progress_cell`;
    time and eta: milliseconds since 1970; link: `link_cell`; action: the text of a button, whose press calls
    `on_action`.
    """

    name: str
    label: str
    kind: Kind = "text"
    sortable: bool = False
    optional: bool = False


def state_cell(name: str, title: str = "") -> Row:
    """Return the cell of a state."""
    return {"name": name, "text": f"{SIGNS.get(name, '•')} {words(name)}", "title": title}


def progress_cell(percent: float, state: str, text: str = "") -> Row:
    """Return the cell of a progress bar."""
    return {"percent": round(percent, 1), "state": state, "text": text}


def link_cell(text: str, address: str, below: str = "") -> Row:
    """Return the cell of a link to a page of the console, with a second line."""
    return {"text": text, "href": address, "sub": below}


class DataTable(ui.element, component="data_table.js"):  # type: ignore[call-arg] # of NiceGUI
    """The table. `set_rows` shows rows in this order, and sends only those that changed."""

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        caption: str = "",
        sort: tuple[str, bool] | None = None,
        on_sort: Callable[[str], object] | None = None,
        on_selection: Callable[[list[str]], object] | None = None,
        on_action: Callable[[str, str], object] | None = None,
    ) -> None:
        """`sort` is the column and whether it ascends. `on_selection` gets the keys of the selected rows.

        `on_action` gets the key of the row and the name of the column.
        """
        super().__init__()
        self.props["columns"] = [asdict(column) for column in columns]
        self.props["rows"] = []
        self.props["caption"] = caption
        self.props["selectable"] = on_selection is not None
        self.set_sort(sort)
        self._rows: dict[str, Row] = {}
        if on_sort is not None:
            self.on("sort", lambda event: on_sort(str(event.args)))
        if on_selection is not None:
            self.on("selection", lambda event: on_selection([str(key) for key in event.args]))
        if on_action is not None:
            self.on("action", lambda event: _act(event, on_action))

    def set_sort(self, sort: tuple[str, bool] | None) -> None:
        """Show by which column the rows are in order."""
        self.props["sort"] = None if sort is None else {"column": sort[0], "ascending": sort[1]}

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show these rows, each with a `key` of its own."""
        now = {str(row["key"]): row for row in rows}
        changed = [row for key, row in now.items() if self._rows.get(key) != row]
        order = list(now)
        has_moved = order != list(self._rows)
        self._rows = now
        if changed or has_moved:
            self.run_method("patch", changed, order if has_moved else None)

    def unselect(self) -> None:
        """Select no row."""
        self.run_method("unselect")


def _act(event: GenericEventArguments, act: Callable[[str, str], object]) -> None:
    act(str(event.args["key"]), str(event.args["name"]))

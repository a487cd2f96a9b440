"""Names with their values, as a list of two columns."""

from collections.abc import Mapping

from nicegui import ui


def show_facts(facts: Mapping[str, str]) -> None:
    """Show each name with its value; an empty one is a dash."""
    with ui.element("dl").classes("facts"):
        for name, value in facts.items():
            with ui.element("dt"):
                ui.label(name).classes("inline")
            with ui.element("dd"):
                ui.label(value or "–").classes("inline")  # noqa: RUF001 - none

"""States as a colour, a sign and a word: colours that colour-blind people tell apart, and never a colour alone."""

from typing import Final

from nicegui import ui

SIGNS: Final = {
    "QUEUED": "○",
    "PENDING": "○",
    "RUNNING": "▶",
    "PROCESSING": "▶",
    "CANCELLING": "◐",
    "COMPLETED": "✓",
    "FAILED": "✕",
    "CANCELLED": "⊘",
    "EXPIRED": "⧖",
    "TIMED_OUT": "⧖",
    "RELEASED": "↩",
    "PAUSED": "Ⅱ",
    "ACTIVE": "✓",
    "DISABLED": "⊘",
    "DELIVERED": "✓",
    "DEAD": "✕",
    "HEALTHY": "✓",
    "DEGRADED": "◐",
    "UNHEALTHY": "✕",
}
"""The sign of each state; the class `state-NAME` of the style sheet has its colours."""


def words(name: str) -> str:
    """Return the name of a state for people: TIMED_OUT is "timed out"."""
    return name.replace("_", " ").lower()


def show_state(name: str, title: str = "") -> ui.element:
    """Show a state, such as "RUNNING"."""
    badge = ui.element("span").classes(f"state state-{name}")
    if title:
        badge.props["title"] = title
    with badge:
        ui.label(f"{SIGNS.get(name, '•')} {words(name)}").classes("inline")
    return badge

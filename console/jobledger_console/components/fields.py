"""Fields that people fill in: the browser's own, so that keyboards and screen readers know them."""

from collections.abc import Callable, Mapping
from typing import Final

from nicegui import ui

_TYPING_SECONDS: Final = 0.35


def show_input(
    label: str,
    value: str = "",
    on_change: Callable[[str], object] | None = None,
    *,
    placeholder: str = "",
    size: int = 20,
    max_length: int = 1_024,
    is_search: bool = False,
) -> "Field":
    """Show a line of text. `on_change` hears of it shortly after the last key."""
    field = Field(label, "input", value)
    field.input.props["type"] = "search" if is_search else "text"
    field.input.props["size"] = size
    field.input.props["maxlength"] = max_length
    field.input.props["placeholder"] = placeholder
    field.input.props["autocomplete"] = "off"
    field.listen("input", on_change, _TYPING_SECONDS)
    return field


def show_select(
    label: str, options: Mapping[str, str], value: str, on_change: Callable[[str], object] | None = None
) -> "Field":
    """Show a choice; `options` are labels by value."""
    field = Field(label, "select", value)
    with field.input:
        for name, text in options.items():
            option = ui.element("option")
            option.props["value"] = name
            if name == value:
                option.props["selected"] = True
            with option:
                ui.label(text)
    field.listen("change", on_change, 0.0)
    return field


class Field:
    """A field with its label; `value` is what it holds now."""

    def __init__(self, label: str, tag: str, value: str) -> None:
        self.value = value
        self._listener: Callable[[str], object] | None = None
        with ui.element("label").classes("labelled"):
            ui.label(label).classes("quiet")
            self.input = ui.element(tag).classes("field")
            # As an attribute: as a property, each rendering would set it again, over what somebody types.
            self.input.props["^value"] = value

    def listen(self, event: str, on_change: Callable[[str], object] | None, throttle: float) -> None:
        """Keep `value` up to date, and call `on_change` with it."""
        self._listener = on_change
        if throttle:
            self.input.on(event, lambda sent: self._set(str(sent.args)), js_handler=_DEBOUNCED % int(throttle * 1_000))
        # Also sent when the field loses focus, so that the text is there before a button beside it is pressed.
        self.input.on("change", lambda sent: self._set(str(sent.args)), js_handler=_AT_ONCE)

    def _set(self, value: str) -> None:
        if value != self.value:
            self.value = value
            if self._listener is not None:
                self._listener(value)


_AT_ONCE: Final = "(e) => { clearTimeout(e.target.typing); emit(e.target.value); }"
_DEBOUNCED: Final = """(e) => {
  const field = e.target;
  clearTimeout(field.typing);
  field.typing = setTimeout(() => emit(field.value), %d);
}"""


def show_toggle(label: str, *, is_on: bool, on_change: Callable[[bool], object], classes: str = "") -> ui.element:
    """Show a button that is pressed or not."""
    button = ui.element("button").classes(f"toggle {classes}")
    button.props["type"] = "button"
    button.props["aria-pressed"] = "true" if is_on else "false"
    with button:
        ui.label(label).classes("inline")

    def press() -> None:
        pressed = button.props["aria-pressed"] != "true"
        button.props["aria-pressed"] = "true" if pressed else "false"
        on_change(pressed)

    button.on("click", lambda _: press())
    return button


def show_check(label: str, *, is_on: bool = False, on_change: Callable[[bool], object] | None = None) -> "Check":
    """Show a box to tick."""
    return Check(label, is_on=is_on, on_change=on_change)


class Check:
    """A box to tick; `value` is whether it is ticked."""

    def __init__(self, label: str, *, is_on: bool, on_change: Callable[[bool], object] | None) -> None:
        self.value = is_on
        self._on_change = on_change
        with ui.element("label").classes("check"):
            box = ui.element("input")
            box.props["type"] = "checkbox"
            if is_on:
                box.props["checked"] = True
            ui.label(label).classes("inline")
        box.on("change", lambda event: self._set(is_on=bool(event.args)), js_handler="(e) => emit(e.target.checked)")

    def _set(self, *, is_on: bool) -> None:
        self.value = is_on
        if self._on_change is not None:
            self._on_change(is_on)

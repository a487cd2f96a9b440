"""Charts in the colours of the theme. Their data are numbers and texts, never markup."""

from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

_FONT: Final = {"fontFamily": "inherit"}


def theme_colour(name: str) -> str:
    """Return the JavaScript of a colour of the style sheet, for an option whose name begins with a colon."""
    return f"getComputedStyle(document.body).getPropertyValue('--{name}')"


def axis(**options: object) -> dict[str, Any]:
    """Return an axis with the colours of the theme."""
    label = {":color": theme_colour("quiet"), **_FONT}
    return {
        "axisLabel": label,
        "axisLine": {"lineStyle": {":color": theme_colour("line")}},
        "splitLine": {"lineStyle": {":color": theme_colour("line")}},
        "nameTextStyle": label,
        **options,
    }


def show_chart(options: Mapping[str, Any], *, height: int, label: str) -> ui.echart:
    """Show an ECharts chart; `label` describes it for screen readers.

    To change it, set its `options` and call `update`.
    """
    text = {":color": theme_colour("text"), **_FONT}
    chart_options = {
        "animation": False,
        "textStyle": text,
        "backgroundColor": "transparent",
        "tooltip": {"trigger": "axis", "confine": True, "renderMode": "richText"},
        **options,
    }
    chart = ui.echart(chart_options).classes("chart").style(f"height: {height}px")
    chart.props["role"] = "img"
    chart.props["aria-label"] = label
    return chart

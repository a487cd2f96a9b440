"""Durations as people write them."""

from typing import Final

from .limits import DAY, HOUR, SECOND

_UNITS: Final = (("d", DAY), ("h", HOUR), ("m", 60 * SECOND))


def duration_text(micros: int) -> str:
    """Return a duration in its units: 5m, 1h30m, 2.5s."""
    text = ""
    for unit, length in _UNITS:
        count, micros = divmod(micros, length)
        text += f"{count}{unit}" if count else ""
    return f"{text}{micros / SECOND:.15g}s" if micros or not text else text

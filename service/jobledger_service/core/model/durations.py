"""Durations and times as people write them."""

from typing import Final

from .bounds.limits import DAY, HOUR, SECOND

_UNITS: Final = (("d", DAY), ("h", HOUR), ("m", 60 * SECOND))


def duration_text(micros: int) -> str:
    """Return a duration in its units: 5m, 1h30m, 2.5s."""
    text = ""
    for unit, length in _UNITS:
        count, micros = divmod(micros, length)
        text += f"{count}{unit}" if count else ""
    return f"{text}{micros / SECOND:.15g}s" if micros or not text else text


def time_text(micros: int) -> str:
    """Return a time as RFC 3339 has it, in UTC, with six digits of the second, so that texts sort as times do."""
    days, rest = divmod(micros, DAY)
    # https://howardhinnant.github.io/date_algorithms.html#civil_from_days: years begin in March
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    of_year = day - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    new_year = month // 10
    date = year + 400 * era + new_year, month + 3 - 12 * new_year, of_year - (153 * month + 2) // 5 + 1
    seconds, fraction = divmod(rest, SECOND)
    clock = seconds // 3_600, seconds // 60 % 60, seconds % 60
    return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z".format(*date, *clock, fraction)

"""Changed copies of frozen values, cheaply: every decision makes a few."""

from typing import TypeVar

Value = TypeVar("Value")


def evolve(value: Value, **changes: object) -> Value:
    """Return a copy of a frozen dataclass without slots, with some of its fields changed.

    It does what `dataclasses.replace` does, but calls no `__init__`: 0.9 µs instead of 9 µs for a job of 24 fields,
    measured with CPython 3.11, where a dict made elsewhere also costs less than filling the one a new value comes with.
    """
    new = object.__new__(type(value))
    object.__setattr__(new, "__dict__", value.__dict__ | changes)
    return new

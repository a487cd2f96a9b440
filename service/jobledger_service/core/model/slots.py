"""Names of concurrency limits, and the limits that a job brings along: what jobs and requests say of them."""

from typing import Final

from msgspec import Struct as MsgStruct

from .limits import DAY

MAX_RUNNING: Final = 1_000_000
LIMIT_REFRESH_INTERVAL: Final = DAY
"""The time for which a limit that jobs bring along counts as recently set."""
LIMIT_RETENTION: Final = 7 * LIMIT_REFRESH_INTERVAL
"""The time without such jobs after which a limit that holds nothing is deleted."""
MAX_COUNTED_PLACE: Final = 10_000
"""The maximum count of jobs ahead of a waiting job."""


class JobLimit(MsgStruct, frozen=True):
    """A limit that a new job brings along: at most `max_running` jobs of a scope of its owner hold a slot."""

    scope: str
    max_running: int


def scope_of(key: str) -> str:
    """Return the scope of a ledger-wide key."""
    return key.partition("/")[2]


def kind_scope(kind: str) -> str:
    """Return the scope of all jobs of a kind."""
    return f"kind:{kind}"


def label_scope(name: str, value: str) -> str:
    """Return the scope of all jobs with this value of a label."""
    return f"label:{name}={value}"

"""Names of concurrency limits, and the limits that a job brings along: what jobs and requests say of them."""

from typing import Final

from msgspec import Struct as MsgStruct

from .limits import DAY

MAX_RUNNING: Final = 1_000_000
LIMIT_REFRESH_INTERVAL: Final = DAY
"""How long a limit that jobs bring along counts as just set."""
LIMIT_RETENTION: Final = 7 * LIMIT_REFRESH_INTERVAL
"""How long after no job brought it along such a limit is forgotten, if it holds nothing."""
MAX_COUNTED_PLACE: Final = 10_000
"""Where counting the jobs that wait ahead stops."""


class JobLimit(MsgStruct, frozen=True):
    """A limit that a new job brings along: at most `max_running` jobs of a scope of its owner hold a slot."""

    scope: str
    max_running: int


def scope_of(key: str) -> str:
    """Return the scope within a ledger-wide name."""
    return key.partition("/")[2]


def kind_scope(kind: str) -> str:
    """Return the scope of all jobs of a kind."""
    return f"kind:{kind}"


def label_scope(name: str, value: str) -> str:
    """Return the scope of all jobs with this value of a label."""
    return f"label:{name}={value}"

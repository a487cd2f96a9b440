"""Why a PENDING chunk may not be claimed yet: its holds, as the bits of one number, 0 for a claimable chunk.

The bits are derived: `Job.held` has those on all chunks of a job, `Chunk.own_held` those on one chunk, `Job.with_holds`
sets both. A transition that changes what they are derived from sets or lifts a hold; nothing else does. A paused kind
is no bit: it holds chunks whose rows do not say so (`core/database/rows/paused_kinds.py`).
"""

from enum import IntEnum
from typing import Final

from msgspec import Struct as MsgStruct

from .bounds.slots import LimitScope
from .micros import Micros


class HoldReason(IntEnum):
    """The reasons, by their bit."""

    LIMIT = 1
    """The job waits for a slot under a concurrency limit: `Job.parked_for`."""
    SCHEDULE = 2
    """The schedule_time of the job has not come: `Job.held_until`."""
    BACKOFF = 4
    """The chunk waits after a failed attempt, or a release with a delay: `Chunk.next_attempt_time`."""
    FINALIZER = 8
    """The chunk is the finalizer, and not all others are COMPLETED: `Job.finalizer_waits`."""


HELD_BY_JOB: Final = HoldReason.LIMIT | HoldReason.SCHEDULE
"""The bits on all waiting chunks of a job alike."""


def reasons_of(held: int) -> tuple[HoldReason, ...]:
    """Return the reasons in a number of bits."""
    return tuple(reason for reason in HoldReason if reason & held) if held else ()


class Hold(MsgStruct, frozen=True):
    """A hold on a whole job: the scope of the limit that it waits for, or when it is lifted."""

    reason: HoldReason
    scope: LimitScope | None = None
    end_time: Micros | None = None

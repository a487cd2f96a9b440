"""The current call: its owner, the size of its request, and its deadline."""

import asyncio
from contextvars import ContextVar
from typing import Final

from msgspec import Struct as MsgStruct

SERVICE_OWNER: Final = ""
"""The owner of the service's own duties, which share the writer as one more owner. No tenant has an empty name."""


class DeadlinePassedError(Exception):
    """The caller's deadline is over, so the work does not start."""

    def __init__(self) -> None:
        super().__init__("the deadline has passed; nothing was done")


class CurrentCall(MsgStruct, frozen=True):
    """One call; `size` is in bytes, `deadline` by the event loop's clock, None for no deadline."""

    owner: str = SERVICE_OWNER
    size: int = 0
    deadline: float | None = None


current_call: ContextVar[CurrentCall] = ContextVar("incoming", default=CurrentCall())  # noqa: B039  it is frozen
"""The call of the current task; work outside of any call belongs to the service."""


def charged_owner(owner: str) -> str:
    """Return the owner in whose turn work is done: the current call's, or else this one.

    So an admin's work on another owner's jobs neither waits for that owner's work nor delays it. Work of the
    service itself stays its own.
    """
    return owner and (current_call.get().owner or owner)


def begin_call(owner: str, size: int, seconds_left: float | None) -> None:
    """Record the call that the task works for; raises DeadlinePassedError when its deadline has passed."""
    deadline = None
    if seconds_left is not None:
        if seconds_left <= 0:
            raise DeadlinePassedError
        deadline = asyncio.get_running_loop().time() + seconds_left
    current_call.set(CurrentCall(owner, size, deadline))

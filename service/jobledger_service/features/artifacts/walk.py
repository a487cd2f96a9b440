"""How far the deletion of the artifacts of one deleted job is: a value that is bounded, however many there are."""

from typing import Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.database.rows.entry import JOB_ITSELF
from jobledger_service.core.model.run import RunCursor

Place = tuple[int, int]
"""An artifact of a deleted job: the index of its chunk, or JOB_ITSELF, and its number there."""

MAX_AGAIN: Final = 100
"""The maximum of failures of a deleted job that are tried again one by one."""
MAX_PASSING: Final = 80
"""The number of failures that may pass after which an attempt ends: its store seems to be away."""


class FailedDeletion(MsgStruct, frozen=True):
    """An artifact that could not be deleted; with `may_pass` another attempt may succeed."""

    place: Place
    uri: str
    message: str
    may_pass: bool


class Walk(MsgStruct, frozen=True):
    """The next artifact, those that are tried again, and the number of failures beyond these.

    `failures` are those of this attempt, at most MAX_AGAIN; the cursor has only their places.
    """

    place: Place = (JOB_ITSELF, 0)
    again: tuple[Place, ...] = ()
    given_up: int = 0
    failures: tuple[FailedDeletion, ...] = ()

    @classmethod
    def begin(cls, cursor: RunCursor | None, chunk_count: int) -> "Walk":
        """Return the walk of a new attempt. It restarts when it had ended with more failures than it remembers."""
        if cursor is None:
            return cls()
        index, number, given_up, *flat = map(int, cursor)
        if given_up and index >= chunk_count:
            return cls()
        return cls((index, number), tuple(zip(flat[::2], flat[1::2], strict=True)), given_up)

    @property
    def cursor(self) -> RunCursor:
        """The form in which the next attempt finds it."""
        places = (*self.again, *(failure.place for failure in self.failures))
        return (*self.place, self.given_up, *(number for place in places for number in place))

    @property
    def failed(self) -> int:
        """The number of artifacts that could not be deleted so far."""
        return len(self.again) + len(self.failures) + self.given_up

    @property
    def is_stopped(self) -> bool:
        """Whether so many failures may pass that the attempt should end here."""
        return sum(failure.may_pass for failure in self.failures) >= MAX_PASSING

    def after(self, place: Place, again: tuple[Place, ...], failed: list[FailedDeletion]) -> "Walk":
        """Return the walk after a step; failures that may pass are kept first."""
        failures = sorted((*self.failures, *failed), key=lambda failure: not failure.may_pass)
        beyond = max(0, len(failures) - MAX_AGAIN)
        return replace(
            self, place=place, again=again, given_up=self.given_up + beyond, failures=tuple(failures[:MAX_AGAIN])
        )

"""Terms of a ledger: the times between the starts of its database, each named so that no other history has it."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Final, NamedTuple

Term = int
"""The time at which a term began, in microseconds since 1970, with a random part; 0 before the first."""

TERM_GAP_MICROS: Final = 1_000_000
"""A term is named by a time this long after all earlier commits, and at random up to twice as long, or by the present
time if that is later: two histories that part at one position do not begin the same term there."""

_first: Final = itemgetter(0)


class Point(NamedTuple):
    """A place in one history of a ledger: a position, and the term of the event there."""

    position: int
    term: Term


def new_term(now: int, commit_time: int, previous: Term, random_below: Callable[[int], int]) -> Term:
    """Return the name of a term that begins now, after a last commit and a previous term; times in microseconds."""
    return max(now, commit_time + TERM_GAP_MICROS, previous + TERM_GAP_MICROS) + random_below(TERM_GAP_MICROS)


class Terms:
    """The terms of a ledger by their first positions, at least one. Those whose history was trimmed may be missing."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Iterable[tuple[int, Term]]) -> None:
        self._rows = sorted(rows)

    @property
    def current(self) -> Term:
        """The term of the next position."""
        return self._rows[-1][1]

    def of(self, position: int) -> Term | None:
        """Return the term of a position, None when its history was trimmed."""
        place = bisect_right(self._rows, position, key=_first)
        return self._rows[place - 1][1] if place else None

    def point(self, position: int) -> Point:
        """Return the point at a position; that of one whose history was trimmed has term 0."""
        return Point(position, self.of(position) or 0)

    def include(self, point: Point) -> bool:
        """Whether the event at a position that the ledger has reached is of the point's term, as far as is known."""
        return self.of(point.position) in (point.term, None)

    def last_common(self, terms: "Terms", position: int) -> int:
        """Return the last position up to `position` at which these and the other terms have the same history.

        What was trimmed from either is taken to be the same.
        """
        known_from = max(self.first, terms.first)
        if self.of(known_from) != terms.of(known_from):
            return min(position, known_from - 1)
        return min([position, *(first - 1 for first, _ in self.after(known_from) ^ terms.after(known_from))])

    @property
    def first(self) -> int:
        """The first position whose term is known."""
        return self._rows[0][0]

    def after(self, position: int) -> set[tuple[int, Term]]:
        """Return the terms that began after a position, with their first positions."""
        return {row for row in self._rows if row[0] > position}

"""Page tokens: opaque, and bound to the request that they continue."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, Final, TypeVar

from msgspec import Struct as MsgStruct
from msgspec import ValidationError, convert, json
from msgspec.structs import asdict

from jobledger_service.core.database.history import History
from jobledger_service.core.model.bounds.limits import MAX_REPLY_BYTES
from jobledger_service.core.model.history.epoch import Epoch
from jobledger_service.core.model.history.terms import Point
from jobledger_service.core.model.refusals.errors import PageTokenInvalid

Place = TypeVar("Place", bound=tuple[Any, ...])
"""Where a page begins."""

_MARK: Final = 12
_PURPOSE: Final = b"page"
_FIELD_BYTES: Final = 6
"""The most bytes that a message takes in another one beside its own: the number of the field, and its length."""


def request_mark(*parts: object) -> str:
    """Return a short fingerprint of a request apart from its page; mappings and sets count by content."""
    text = repr([_plain(part) for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()[:_MARK]


def _plain(part: object) -> object:
    if isinstance(part, set | frozenset):
        return sorted(map(str, part))
    if hasattr(part, "items"):
        return sorted(part.items())
    if isinstance(part, MsgStruct):
        return [(name, _plain(value)) for name, value in asdict(part).items()]
    return part


def fitting(sizes: Iterable[int]) -> int:
    """Return how many of the first rows, which have these bytes, fit into a reply: at least one."""
    return max(1, sum(size <= MAX_REPLY_BYTES for size in accumulate(size + _FIELD_BYTES for size in sizes)))


def last_place(rows: Sequence[object], limit: int, name: str) -> tuple[str] | None:
    """Return the place of the last row of a page, an attribute of it, if more than `limit` were found."""
    return (getattr(rows[limit - 1], name),) if len(rows) > limit else None


class PageTokens:
    """Creates and reads the page tokens of one epoch: it refuses tokens that were changed or made elsewhere.

    A token is of the newest point that its maker has seen, and refused when the ledger no longer has what it had there.
    `look` has this process see the end of the ledger.
    """

    def __init__(self, epoch: Epoch, history: History, look: Callable[[], Awaitable[object]]) -> None:
        self._epoch = epoch
        self._history = history
        self._look = look

    def encode(self, mark: str, *values: int | str) -> str:
        """Return the token of the next page's start, `values`, for the request with this fingerprint."""
        return self._epoch.sign(_PURPOSE, json.encode([mark, *self._history.newest, *values]))

    async def parse(self, token: str, mark: str, place: type[Place]) -> Place | None:
        """Return the place of a token, of this type, None for an empty one; raises PageTokenInvalid."""
        read = self.read(token, mark, place, "page_token")
        if read is None:
            return None
        point, values = read
        if point.position > self._history.position:
            await self._look()
        if not self._history.includes(point):
            raise PageTokenInvalid("is of a part of the history that the database lost", "page_token")
        return values

    def read(self, token: str, mark: str, place: type[Place], field: str) -> tuple[Point, Place] | None:
        """Return the point that a token is of and its place, None for an empty one; raises PageTokenInvalid."""
        if not token:
            return None
        try:
            raw = self._epoch.verify(_PURPOSE, token)
        except ValueError as error:
            raise PageTokenInvalid("is damaged", field) from error
        if raw is None:
            raise PageTokenInvalid("is damaged, or from before the database was restored", field)
        token_mark, *values = json.decode(raw)
        if token_mark != mark:
            raise PageTokenInvalid("belongs to another request", field)
        try:
            return convert(values[:2], Point), convert(values[2:], place)
        except ValidationError as error:
            raise PageTokenInvalid("is of another version", field) from error

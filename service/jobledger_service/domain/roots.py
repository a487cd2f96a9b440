"""Which URIs lie under the roots that the operator allowed: a rule about text, that touches nothing.

What cannot be read in exactly one way is under no root. A root and a URI agree in scheme and authority letter by
letter; below that only plain segments count: no empty one, no `.` or `..`, no query, no fragment. A percent sign is an
encoding in `file:`, where it is taken back once; elsewhere it may be either, so that such a URI is left alone.

Workers often report the address from which a file is downloaded, and not where it is kept. A root may say that one
stands for the other: https://media.example/out/=s3://bucket/out/.
"""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

FILE: Final = "file"

_FORM: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/]*)/(.*)", re.DOTALL)
_NEVER: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\\?#]|::")
"""White space, controls, backslashes, queries, fragments, and `::`, by which fsspec would chain file systems."""
_STANDS_FOR: Final = re.compile(r"=(?=[a-z][a-z0-9+.-]*://)")
"""Between an address and where it leads; any other `=` is part of a name."""
_NOT_IN_SEGMENT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\%]")
_EXAMPLE: Final = "https://media.example/out/=s3://bucket/out/"


class NotARootError(ValueError):
    """A setting that names no root; the text says what is wrong with it."""


class Place(Struct, frozen=True):
    """Something under a root: the root's segments and, never empty, those below it, all plain."""

    scheme: str
    authority: str
    root: tuple[str, ...]
    below: tuple[str, ...]


class Prefix(Struct, frozen=True):
    """The beginning of a URI, always at a boundary of its path."""

    scheme: str
    authority: str
    segments: tuple[str, ...]

    def below(self, uri: str) -> tuple[str, ...]:
        """Return the segments of a URI below this prefix, none when it is not below."""
        parts = _parts(uri)
        if parts is None or parts[:2] != (self.scheme, self.authority):
            return ()
        depth = len(self.segments)
        return parts[2][depth:] if parts[2][:depth] == self.segments else ()


class Root(Prefix, frozen=True):
    """Where artifacts may be deleted, and the prefix by which workers name it when that is another."""

    named: Prefix | None = None

    def place(self, uri: str) -> Place | None:
        """Return where under this root a URI points, None when it does not."""
        below = (self.named or self).below(uri)
        return Place(self.scheme, self.authority, self.segments, below) if below else None


class Roots(Struct, frozen=True):
    """All allowed prefixes. None: nothing is ever deleted."""

    all: Sequence[Root] = ()

    def place(self, uri: str) -> Place | None:
        """Return where under the first root that holds it a URI points, None when it is under none."""
        return next((place for root in self.all if (place := root.place(uri)) is not None), None)


NO_ROOTS: Final = Roots()


def parse_root(text: str) -> Root:
    """Return the root that `text` names, as PREFIX or as PREFIX=WHERE; raises NotARootError."""
    named, *kept = _STANDS_FOR.split(text)
    if len(kept) > 1:
        raise NotARootError(f"{text!r} has more than two parts: PREFIX=WHERE is wanted, like {_EXAMPLE}")
    if kept:
        where = _prefix(kept[0])
        return Root(where.scheme, where.authority, where.segments, _prefix(named))
    where = _prefix(text)
    return Root(where.scheme, where.authority, where.segments)


def _prefix(text: str) -> Prefix:
    parts = _parts(text if text.endswith("/") else f"{text}/", directory=True)
    if parts is None:
        raise NotARootError(f"{text!r} is not a plain URL prefix like s3://bucket/out/ or file:///srv/media/")
    scheme, authority, segments = parts
    if scheme == FILE and (authority or not segments):
        raise NotARootError(f"{text!r} is not a directory like file:///srv/media/, without a host and below the root")
    if scheme != FILE and not authority:
        raise NotARootError(f"{text!r} names no bucket: {scheme}://BUCKET/PREFIX/ is wanted")
    return Prefix(scheme, authority, segments)


def _parts(uri: str, *, directory: bool = False) -> tuple[str, str, tuple[str, ...]] | None:
    """Return scheme, authority and segments, None for what can be read in another way, or in none."""
    found = None if _NEVER.search(uri) else _FORM.fullmatch(uri)
    if found is None:
        return None
    scheme, authority, path = found.groups()
    if directory:
        path = path.removesuffix("/")
    segments = tuple(_segment(scheme, one) for one in path.split("/")) if path or not directory else ()
    if any(one is None for one in segments):
        return None
    return scheme, authority, tuple(one for one in segments if one is not None)


def _segment(scheme: str, written: str) -> str | None:
    """Return a segment as the file system has it, None for one that is not plain."""
    try:
        one = unquote(written, errors="strict") if scheme == FILE else written
        one.encode()
    except UnicodeError:
        return None
    return None if one in ("", ".", "..") or _NOT_IN_SEGMENT.search(one) else one

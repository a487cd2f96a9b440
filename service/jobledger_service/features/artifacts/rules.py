"""Which URIs lie under the roots that the operator allows: a rule about text, which reads no storage.

An ambiguous URI is under no root. A root and a URI agree in scheme and authority letter by
letter; below that only plain segments count: no empty one, no `.` or `..`, no query, no fragment. A percent sign is an
encoding in `file:`, where it is taken back once; elsewhere it may be either, so that such a URI is left alone.

Workers often report the address from which a file is downloaded, not its storage location. A root may map one to the
other: https://media.example/out/=s3://bucket/out/.

The segment {owner} of a root stands for the owner of the deleted job, so that no owner deletes another's artifacts.
"""

import re
from collections.abc import Sequence
from itertools import combinations
from typing import Final
from urllib.parse import unquote

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.bounds.limits import OWNER

FILE: Final = "file"
OWNER_SEGMENT: Final = "{owner}"

_FORM: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/]*)/(.*)", re.DOTALL)
_NEVER: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\\?#]|::")
"""White space, controls, backslashes, queries, fragments, and `::`, by which fsspec would chain file systems."""
_STANDS_FOR: Final = re.compile(r"=(?=[a-z][a-z0-9+.-]*://)")
"""Separates an address from its storage location; any other `=` is part of a name."""
_NOT_IN_SEGMENT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\%]")
_EXAMPLE: Final = "https://media.example/out/=s3://bucket/out/"


class InvalidRootError(ValueError):
    """A setting that is not a root; the text says why."""


class NotDeletedError(Exception):
    """The target of an artifact was not deleted; with `may_pass` another attempt may succeed."""

    def __init__(self, message: str, *, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class ArtifactLocation(MsgStruct, frozen=True):
    """A location under a root: the root's segments and, never empty, those below it, all plain.

    `owned` are the root's segments from the owner's on, empty for a root without {owner}; `root` are those before.
    """

    scheme: str
    authority: str
    root: tuple[str, ...]
    below: tuple[str, ...]
    owned: tuple[str, ...] = ()


class Prefix(MsgStruct, frozen=True):
    """A prefix of URIs, always at a boundary of their paths."""

    scheme: str
    authority: str
    segments: tuple[str, ...]

    @property
    def where(self) -> str:
        """The prefix as a URL."""
        return f"{self.scheme}://{self.authority}/" + "".join(f"{segment}/" for segment in self.segments)

    def below(self, uri: str, owner: str) -> tuple[str, ...]:
        """Return the segments of an owner's URI below this prefix, empty when it is not below."""
        parts = _parts(uri)
        if parts is None or parts[:2] != (self.scheme, self.authority):
            return ()
        depth = len(self.segments)
        return parts[2][depth:] if parts[2][:depth] == self.of(owner) else ()

    def of(self, owner: str) -> tuple[str, ...]:
        """Return the segments with {owner} replaced by an owner's name."""
        return tuple(owner if segment == OWNER_SEGMENT else segment for segment in self.segments)


class Root(Prefix, frozen=True):
    """A prefix under which artifacts may be deleted, and the prefix by which workers name it if that differs."""

    named: Prefix | None = None

    @property
    def owner_depth(self) -> int:
        """The number of segments before {owner}: all of them in a root that owners share."""
        return self.segments.index(OWNER_SEGMENT) if self.is_owned else len(self.segments)

    @property
    def is_owned(self) -> bool:
        """Whether each owner has a directory of its own under the root."""
        return OWNER_SEGMENT in self.segments

    def locate(self, uri: str, owner: str) -> ArtifactLocation | None:
        """Return the location of a URI under this root of an owner, None when it is not under it."""
        below = (self.named or self).below(uri, owner)
        if not below:
            return None
        segments, depth = self.of(owner), self.owner_depth
        return ArtifactLocation(self.scheme, self.authority, segments[:depth], below, segments[depth:])

    def overlaps(self, other: "Root") -> bool:
        """Whether one owner's directory under this root may contain another owner's under the other root."""
        if (self.scheme, self.authority) != (other.scheme, other.authority):
            return False
        if self.owner_depth == other.owner_depth:
            return False
        return all(_may_be_equal(mine, theirs) for mine, theirs in zip(self.segments, other.segments, strict=False))


class Roots(MsgStruct, frozen=True):
    """All allowed prefixes; without any, nothing is ever deleted."""

    all: Sequence[Root] = ()

    def locate(self, uri: str, owner: str) -> ArtifactLocation | None:
        """Return the location of an owner's URI under the first root that contains it, None when no root does."""
        if OWNER.fullmatch(owner) is None:
            return None
        return next((location for root in self.all if (location := root.locate(uri, owner)) is not None), None)

    def check_owned(self) -> None:
        """Raise InvalidRootError unless no owner's directory under a root is, or holds, another owner's."""
        for root in self.all:
            if not root.is_owned:
                raise InvalidRootError(
                    f"{root.where!r} is shared by all owners, who could delete each other's files; give each owner a "
                    f"directory with the segment {OWNER_SEGMENT}, like {root.where}{OWNER_SEGMENT}/, or set "
                    "--artifact-roots-shared-by-all-owners"
                )
        for root, other in combinations(self.all, 2):
            if root.overlaps(other):
                raise InvalidRootError(
                    f"{root.where!r} and {other.where!r} overlap: the directory of one owner under the first may be "
                    f"that of another under the second; put {OWNER_SEGMENT} at the same place in both"
                )


def parse_root(text: str) -> Root:
    """Return the root that `text` names, as PREFIX or as PREFIX=WHERE; raises InvalidRootError."""
    named, *kept = _STANDS_FOR.split(text)
    if len(kept) > 1:
        raise InvalidRootError(f"value {text!r} must have at most two parts, PREFIX=WHERE, like {_EXAMPLE}")
    where = _prefix(kept[0] if kept else text)
    prefix = _prefix(named) if kept else None
    if prefix is not None and OWNER_SEGMENT in prefix.segments and OWNER_SEGMENT not in where.segments:
        raise InvalidRootError(
            f"{text!r} maps the prefixes of all owners to one directory: put {OWNER_SEGMENT} after the = too"
        )
    return Root(where.scheme, where.authority, where.segments, prefix)


def _may_be_equal(segment: str, other: str) -> bool:
    """Whether two segments of roots may be equal for some owners."""
    return segment == other or OWNER_SEGMENT in (segment, other)


def _prefix(text: str) -> Prefix:
    parts = _parts(text if text.endswith("/") else f"{text}/", directory=True)
    if parts is None:
        raise InvalidRootError(f"value {text!r} must be a plain URL prefix like s3://bucket/out/ or file:///srv/media/")
    scheme, authority, segments = parts
    if scheme == FILE and (authority or not segments):
        raise InvalidRootError(
            f"value {text!r} must be a directory like file:///srv/media/, without a host and below the root"
        )
    if scheme != FILE and not authority:
        raise InvalidRootError(f"value {text!r} must name a bucket, like {scheme}://BUCKET/PREFIX/")
    braced = [part for part in (authority, *segments) if "{" in part or "}" in part]
    if braced and (braced != [OWNER_SEGMENT] or authority in braced):
        raise InvalidRootError(
            f"{text!r} has braces in {braced[0]!r}: one whole segment of the path may be {OWNER_SEGMENT}, "
            f"like s3://bucket/out/{OWNER_SEGMENT}/"
        )
    return Prefix(scheme, authority, segments)


def _parts(uri: str, *, directory: bool = False) -> tuple[str, str, tuple[str, ...]] | None:
    """Return scheme, authority and segments; None for an ambiguous or invalid URI."""
    match = None if _NEVER.search(uri) else _FORM.fullmatch(uri)
    if match is None:
        return None
    scheme, authority, path = match.groups()
    if directory:
        path = path.removesuffix("/")
    segments = tuple(_segment(scheme, part) for part in path.split("/")) if path or not directory else ()
    if any(segment is None for segment in segments):
        return None
    return scheme, authority, tuple(segment for segment in segments if segment is not None)


def _segment(scheme: str, written: str) -> str | None:
    """Return a segment as the file system has it; None for one that is not plain."""
    try:
        text = unquote(written, errors="strict") if scheme == FILE else written
        text.encode()
    except UnicodeError:
        return None
    return None if text in ("", ".", "..") or _NOT_IN_SEGMENT.search(text) else text

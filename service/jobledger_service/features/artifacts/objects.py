"""Deletes objects of buckets through fsspec: exactly the named object, without patterns, caches or chains."""

from typing import TYPE_CHECKING, Any, Final

import structlog

from .files import remove_file
from .rules import FILE, ArtifactLocation, NotDeletedError, Root

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

log = structlog.get_logger(__name__)

EXTRAS: Final = {"s3": "s3", "gs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
"""The schemes of buckets, and the extra of the distribution with the driver."""


class NoDriverError(ValueError):
    """A root whose objects this installation cannot delete."""


def check_driver(root: Root) -> None:
    """Raise NoDriverError unless objects under this root can be deleted."""
    if root.scheme == FILE:
        return
    extra = EXTRAS.get(root.scheme)
    if extra is None:
        known = ", ".join((FILE, *EXTRAS))
        raise NoDriverError(
            f"nothing can be deleted at {root.scheme}:// addresses, only at {known}; "
            f"for an address that stands for one of these write {root.scheme}://PREFIX=s3://BUCKET/PREFIX/"
        )
    try:
        _driver(root.scheme)
    except ImportError as error:
        raise NoDriverError(
            f"{root.scheme}:// needs a driver: pip install 'jobledger-service[{extra}]' ({error})"
        ) from error


def remove(location: ArtifactLocation) -> bool:
    """Delete the file or object at a place; return whether it was there. Raises NotDeletedError."""
    return remove_file(location) if location.scheme == FILE else remove_object(location)


def remove_object(location: ArtifactLocation) -> bool:
    """Delete the object at a place; return whether it was there. Raises NotDeletedError."""
    try:
        files, path = _opened(location)
        kind = _kind(files, path)
        if kind == "file":
            files.rm_file(path)
        elsewhere = not kind and not _has_bucket(files, location)
    except FileNotFoundError:  # it was deleted after it was read
        return False
    except Exception as error:  # each driver raises errors of its own; what they say may name secrets
        log.warning("an object is not deleted", scheme=location.scheme, exc_info=True)
        raise NotDeletedError(f"the store failed: {type(error).__name__}", may_pass=True) from error
    if elsewhere:
        raise NotDeletedError(f"the bucket {location.authority} is not there", may_pass=True)
    if kind not in ("file", ""):
        raise NotDeletedError("it is a directory", may_pass=False)
    return kind == "file"


def _kind(files: "AbstractFileSystem", path: str) -> str:
    """Return "file" or "directory", empty for a missing object."""
    try:
        return str(files.info(path)["type"])
    except FileNotFoundError:
        return ""


def _has_bucket(files: "AbstractFileSystem", location: ArtifactLocation) -> bool:
    """Whether the bucket exists, as far as is known: drivers report a lost bucket like a lost object."""
    bucket = files._strip_protocol(f"{location.scheme}://{location.authority}")  # noqa: SLF001  as for the path
    try:
        return bool(_kind(files, bucket))
    except PermissionError:
        return True


def has_bucket(root: Root) -> bool:
    """Whether the bucket of a root exists, according to its store; raises its driver's errors."""
    location = ArtifactLocation(root.scheme, root.authority, (), ("any",))
    return _has_bucket(_opened(location)[0], location)


def _driver(scheme: str) -> Any:  # noqa: ANN401  a class of fsspec's, which has no annotations
    """Return the class of the file systems of a scheme; raises ImportError."""
    from fsspec import get_filesystem_class  # noqa: PLC0415  servers without buckets do without

    return get_filesystem_class(scheme)


def _opened(location: ArtifactLocation) -> "tuple[AbstractFileSystem, str]":
    """Return the file system of a place, and the path by which it knows it."""
    key = "/".join((*location.root, *location.owned, *location.below))
    address = f"{location.scheme}://{location.authority}/{key}"
    driver = _driver(location.scheme)
    path: str = driver._strip_protocol(address)  # noqa: SLF001  fsspec's own way from an address to a path
    if not path.endswith(f"/{key}"):
        raise ValueError(f"the driver reads {address!r} as {path!r}")
    options = driver._get_kwargs_from_urls(address)  # noqa: SLF001  the same: an account in the authority
    return driver(use_listings_cache=False, **options), path

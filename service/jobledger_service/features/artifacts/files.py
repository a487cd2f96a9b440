"""Deletes files of this machine: from the root down each directory is opened in its parent, without following links."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from .rules import ArtifactLocation, NotDeletedError

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINK: Final = _DIRECTORY | os.O_NOFOLLOW
_FOR_GOOD: Final = {
    errno.EISDIR: "it is a directory",
    errno.ELOOP: "a part of its path is a link",
    errno.ENOTDIR: "a part of its path is a link or no directory",
    errno.ENAMETOOLONG: "a part of its path is too long",
}


def remove_file(location: ArtifactLocation) -> bool:
    """Delete the file or link of a location, never a link's target; return whether it existed.

    Links above the root are the operator's and are followed; links from the owner's directory down are not. Raises
    NotDeletedError.
    """
    *directories, name = location.below
    try:
        with _opened("/" + "/".join(location.root), location.owned, directories) as directory:
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise _not_deleted(error) from error
    return True


@contextmanager
def _opened(root: str, owned: Sequence[str], directories: Sequence[str]) -> Iterator[int]:
    """Open a directory by way of all those above it."""
    try:
        opened = os.open(root, _DIRECTORY)
    except FileNotFoundError as error:  # as when it is not mounted: what was below it may be there again later
        raise _no_root((root,)) from error
    try:
        for name in owned:
            try:
                inner = os.open(name, _NO_LINK, dir_fd=opened)
            except FileNotFoundError as error:
                raise _no_root((root, *owned)) from error
            os.close(opened)
            opened = inner
        for name in directories:
            inner = os.open(name, _NO_LINK, dir_fd=opened)
            os.close(opened)
            opened = inner
        yield opened
    finally:
        os.close(opened)


def _no_root(path: Sequence[str]) -> NotDeletedError:
    return NotDeletedError(f"the root {'/'.join(path)} is not there", may_pass=True)


def _not_deleted(error: OSError | ValueError) -> NotDeletedError:
    number = error.errno if isinstance(error, OSError) else None
    if number in _FOR_GOOD:
        return NotDeletedError(_FOR_GOOD[number], may_pass=False)
    return NotDeletedError(getattr(error, "strerror", None) or str(error), may_pass=True)

"""The work itself: what is counted, and how."""

import ast
import hashlib
import sysconfig
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Self

KIND = "demo.hash"
FILES_PER_CHUNK = 50


@dataclass(frozen=True)
class Totals:
    """What some files contain; `digest` adds up their SHA-256, so that the order does not matter."""

    files: int = 0
    bytes: int = 0
    lines: int = 0
    syntax_nodes: int = 0
    digest: int = 0

    def __add__(self, other: Self) -> "Totals":
        sums = (mine + theirs for mine, theirs in zip(asdict(self).values(), asdict(other).values(), strict=True))
        files, size, lines, nodes, digest = sums
        return Totals(files, size, lines, nodes, digest % 2**256)

    @property
    def values(self) -> dict[str, int | str]:
        """The totals as JSON keeps them; the digest is larger than the integers that it keeps exact."""
        return {**asdict(self), "digest": str(self.digest)}

    @classmethod
    def of(cls, values: Mapping[str, float | str]) -> Self:
        """Return the totals of such values."""
        return cls(**{name: int(value) for name, value in values.items()})


def sources() -> list[Path]:
    """Return the source files of the running Python's standard library, always in the same order."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(path for path in root.rglob("*.py") if "site-packages" not in path.parts)


_parsing = Lock()
"""In Python 3.11 ast.parse may fail in two threads at once, and filters of warnings are the whole process's."""


def count(path: Path) -> Totals:
    """Return what one file contains; a file that is no valid Python, of which the test suite has some, has no nodes."""
    content = path.read_bytes()
    try:
        with _parsing, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
        nodes = sum(1 for _ in ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError):
        nodes = 0
    digest = int.from_bytes(hashlib.sha256(content).digest())
    return Totals(1, len(content), content.count(b"\n"), nodes, digest)


def count_all(paths: Iterable[Path]) -> Totals:
    """Return what the files contain together."""
    return sum(map(count, paths), Totals())

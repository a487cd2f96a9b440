"""The work itself: what is counted, and how."""

import ast
import hashlib
import sysconfig
import warnings
from collections.abc import Callable, Iterable
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


def count_all(paths: Iterable[Path], after_each: Callable[[int], bool] = lambda _: True) -> Totals:
    """Return what the files contain together; `after_each` gets the number done and returns whether to continue."""
    totals = Totals()
    for done, path in enumerate(paths, 1):
        totals += count(path)
        if not after_each(done):
            break
    return totals

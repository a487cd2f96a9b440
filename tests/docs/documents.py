"""The documents, and the commands in their shell examples."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
TUTORIAL = sorted((ROOT / "docs" / "tutorial").glob("[0-9]*.md"))
TARGET = "127.0.0.1:7070"  # the server of all examples


def name_of(path: Path) -> str:
    """Return the name that a document has among the tests."""
    return str(path.relative_to(ROOT))


@dataclass(frozen=True)
class Command:
    """One command of a shell example."""

    document: str
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}:{self.line} {' '.join(self.words[:2])}"

    def after(self, flag: str) -> str:
        """Return the word that follows a flag; empty when the flag is not there."""
        return self.words[self.words.index(flag) + 1] if flag in self.words else ""


def commands(path: Path) -> Iterator[Command]:
    """Yield the commands of a document's shell examples, in order."""
    for example in Document.parse(str(path), CodeBlockParser("sh", _no_evaluation)):
        lines = str(example.parsed).replace("\\\n", " ").splitlines()
        for offset, line in enumerate(lines):
            for words in _split(shlex.split(line, comments=True)):
                yield Command(name_of(path), example.line + 1 + offset, tuple(words))


def _split(words: list[str]) -> Iterator[list[str]]:
    for is_operator, group in groupby(words, key={"&&", "||", "|"}.__contains__):
        if not is_operator:
            yield list(group)


def _no_evaluation(_: Any) -> None:
    """Do nothing: these examples are read, not run."""


SHELL_COMMANDS = [command for path in DOCUMENTS for command in commands(path)]

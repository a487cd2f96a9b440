"""The chunks of a job as a map of characters: a cell for each chunk, or for as many neighbours as fit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from math import ceil

from rich.text import Text

from jobledger_client.cli._live._chunk_states import Shown

_LEVELS = "▁▂▃▄▅▆▇"
"""A cell of COMPLETED and PENDING chunks is filled as far as they are COMPLETED."""
_COMPLETED, _PARTLY = "█", "▄"
_STYLES = {
    "█": "green",
    **dict.fromkeys(_LEVELS, "green"),
    "·": "dim",
    "-": "yellow",
    "▸": "bold bright_blue",
    "↻": "bold yellow",
    "X": "bold red",
    "?": "bold magenta",
}
_GLYPHS = {
    Shown.COMPLETED: _COMPLETED,
    Shown.PENDING: "·",
    Shown.CANCELLED: "-",
    Shown.PROCESSING: "▸",
    Shown.RETRYING: "↻",
    Shown.FAILED: "X",
    Shown.UNREADABLE: "?",
}
_WORDS = {
    Shown.COMPLETED: "completed",
    Shown.PROCESSING: "in work",
    Shown.PENDING: "waiting",
    Shown.RETRYING: "to retry",
    Shown.FAILED: "failed",
    Shown.CANCELLED: "cancelled",
    Shown.UNREADABLE: "unreadable",
}
_GROUP = 10
"""Rows have a multiple of this number of cells, so that the numbers before them are round."""


@dataclass(frozen=True, slots=True)
class Folding:
    """How chunks are laid out: `per_cell` neighbours in a cell, `per_row` cells in a row."""

    per_cell: int
    per_row: int

    @classmethod
    def of(cls, chunks: int, *, width: int, rows: int) -> "Folding":
        """Return the finest folding by 1, 2, 5, 10, 20, … chunks into `rows` of `width` characters."""
        per_row = max((width - len(f"{chunks:,} ")) // _GROUP * _GROUP, _GROUP)
        steps = (step * 10**power for power in count() for step in (1, 2, 5))
        return cls(next(step for step in steps if ceil(chunks / step) <= per_row * rows), per_row)


def cells(marks: Sequence[int], per_cell: int) -> str:
    """Return a character for each `per_cell` neighbours: the most telling mark among them."""
    whole = bytes(marks)
    return "".join(_cell(whole[start : start + per_cell]) for start in range(0, len(whole), per_cell))


def _cell(marks: bytes) -> str:
    highest, completed = max(marks), marks.count(Shown.COMPLETED)
    if highest == Shown.PENDING and completed:
        return _LEVELS[completed * len(_LEVELS) // len(marks)]
    return _GLYPHS[Shown(highest)]


def chunk_map(marks: Sequence[int], *, width: int, rows: int) -> Text:
    """Return the map in at most `rows` lines, each with the index of its first chunk, above a legend with counts."""
    folding = Folding.of(len(marks), width=width, rows=rows)
    row = cells(marks, folding.per_cell)
    label_width = len(f"{len(marks):,}")
    text = Text(no_wrap=True)
    for start in range(0, len(row), folding.per_row):
        text.append(f"{start * folding.per_cell:>{label_width},} ", "dim")
        text.append_text(_painted(row[start : start + folding.per_row]))
        text.append("\n")
    return text.append_text(_legend(bytes(marks), folding.per_cell))


def mix(counts: Sequence[tuple[Shown, int]], width: int) -> Text:
    """Return one line that shows how many chunks are in which state, in order; what occurs has at least a cell."""
    total = max(sum(number for _, number in counts), 1)
    widths = [max(number * width // total, 1) if number else 0 for _, number in counts]
    widest = widths.index(max(widths))
    widths[widest] += width - sum(widths)
    return _painted("".join(_GLYPHS[mark] * cells for (mark, _), cells in zip(counts, widths, strict=True)))


def _painted(row: str) -> Text:
    return Text.assemble(*(("".join(run), style) for style, run in groupby(row, key=_STYLES.__getitem__)), no_wrap=True)


def _legend(marks: bytes, per_cell: int) -> Text:
    def parts() -> Iterator[tuple[str, str]]:
        for mark, word in _WORDS.items():
            if count := marks.count(mark):
                yield (_GLYPHS[mark], _STYLES[_GLYPHS[mark]])
                yield (f" {count:,} {word}  ", "")
        if per_cell > 1:
            yield (f"{_PARTLY}", _STYLES[_PARTLY])
            yield (f" partly  {per_cell:,} chunks a cell", "dim")

    return Text.assemble(*parts(), no_wrap=True, overflow="ellipsis")

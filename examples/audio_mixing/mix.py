"""Sound as arrays: stems that are made, aligned, levelled, mixed and mastered."""

import math
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from examples.speech_video.audio import RATE, load, save

Samples: TypeAlias = "array[int]"
LOUDEST = 32_767
HEADROOM = 0.9


def synthesise(path: Path, pitch: float, seconds: float, late: int) -> None:
    """Write a stem: a tone that pulses, after `late` samples of silence."""
    beat = (math.sin(math.pi * 2 * n / RATE) ** 2 for n in range(int(seconds * RATE)))
    tone = (int(15_000 * loud * math.sin(2 * math.pi * pitch * n / RATE)) for n, loud in enumerate(beat))
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, array("h", [0] * late) + array("h", tone))


def read(path: Path) -> Samples:
    """Read a stem. Raises wave.Error for what is no WAV."""
    return load(path)


def aligned(stem: Samples) -> Samples:
    """Return the stem from its first sound on."""
    first = next((n for n, sample in enumerate(stem) if abs(sample) > LOUDEST // 1_000), 0)
    return stem[first:]


def levelled(stem: Samples) -> Samples:
    """Return the stem with its peak at half of what is possible."""
    peak = max(map(abs, stem), default=0) or 1
    return array("h", (sample * LOUDEST // (2 * peak) for sample in stem))


def mixed(stems: Sequence[Samples]) -> list[int]:
    """Return the sum of the stems, as long as the longest; it may be too loud."""
    total = [0] * max(map(len, stems))
    for stem in stems:
        for n, sample in enumerate(stem):
            total[n] += sample
    return total


def mastered(mix: Sequence[int]) -> Samples:
    """Return the mix as loud as it may be."""
    peak = max(map(abs, mix), default=0) or 1
    return array("h", (int(sample * LOUDEST * HEADROOM / peak) for sample in mix))

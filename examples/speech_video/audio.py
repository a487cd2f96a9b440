"""Sound: speech to work on, its cuts, and how loud it is at each frame of video."""

import math
import wave
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RATE = 8_000  # samples per second
FRAMES = 25  # of video, per second
STEP = RATE // FRAMES  # samples per frame
PAUSE = 8  # frames that a pause lasts at least
SILENT = 0.02


@dataclass(frozen=True)
class Segment:
    """A stretch of the sound, in frames; `end` is the first that is out."""

    start: int
    end: int


def synthesise(path: Path, sentences: Sequence[float]) -> None:
    """Write a WAV of sentences of so many seconds each, half a second apart, made of syllables."""
    samples = array("h")
    for number, seconds in enumerate(sentences):
        pitch = 120 + 15 * number
        for n in range(int(seconds * RATE)):
            loudness = 0.15 + 0.8 * math.sin(math.pi * 4 * n / RATE) ** 2
            samples.append(int(20_000 * loudness * math.sin(2 * math.pi * pitch * n / RATE)))
        samples.extend([0] * (RATE // 2))
    save(path, samples)


def save(path: Path, samples: "array[int]") -> None:
    """Write samples as a WAV."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(samples.tobytes())


def load(path: Path) -> "array[int]":
    """Read the samples of a WAV."""
    with wave.open(str(path), "rb") as sound:
        return array("h", sound.readframes(sound.getnframes()))


def loudness(samples: "array[int]") -> list[float]:
    """Return how loud each frame is, 0 to 1: the root of the mean square."""
    frames = (samples[start : start + STEP] for start in range(0, len(samples), STEP))
    return [math.sqrt(sum(sample * sample for sample in frame) / len(frame)) / 32_768 for frame in frames]


def cut(levels: Sequence[float]) -> list[Segment]:
    """Cut at the pauses, behind each; a sound without any, also an empty one, is one segment."""
    segments, start, silent = [], 0, 0
    for frame, level in enumerate(levels):
        silent = silent + 1 if level < SILENT else 0
        if silent == PAUSE and frame + 1 < len(levels):
            segments.append(Segment(start, frame + 1))
            start = frame + 1
    if any(level >= SILENT for level in levels[start:]) or not segments:
        return [*segments, Segment(start, len(levels))]
    return [*segments[:-1], Segment(segments[-1].start, len(levels))]

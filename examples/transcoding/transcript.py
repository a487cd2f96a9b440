"""What was said, and when: a "speech to text" that hears one word in each sentence, the pitch of its voice."""

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from examples.speech_video.audio import FRAMES, RATE, SILENT, STEP, cut, load, loudness

LANGUAGE, MODEL = "en", "zero-crossings-1"
TYPES = {"txt": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt", "json": "application/json"}


@dataclass(frozen=True)
class Word:
    """A word, and its time in seconds."""

    text: str
    start: float
    end: float


def transcribe(sound: Path) -> list[Word]:
    """Return the words of a sound."""
    samples = load(sound)
    levels = loudness(samples)
    words = []
    for segment in cut(levels):
        spoken = [frame for frame in range(segment.start, segment.end) if levels[frame] >= SILENT]
        if spoken:
            heard = samples[spoken[0] * STEP : (spoken[-1] + 1) * STEP]
            crossings = sum(before < 0 <= after for before, after in pairwise(heard))
            pitch = round(crossings * RATE / len(heard))
            words.append(Word(f"hum-{pitch}", spoken[0] / FRAMES, (spoken[-1] + 1) / FRAMES))
    return words


def formats(words: list[Word]) -> dict[str, str]:
    """Return the transcript as txt, srt, vtt and json."""
    srt = [f"{n}\n{_time(w.start, ',')} --> {_time(w.end, ',')}\n{w.text}\n" for n, w in enumerate(words, start=1)]
    vtt = [f"{_time(w.start, '.')} --> {_time(w.end, '.')}\n{w.text}\n" for w in words]
    return {
        "txt": " ".join(word.text for word in words),
        "srt": "\n".join(srt),
        "vtt": "\n".join(["WEBVTT\n", *vtt]),
        "json": json.dumps([asdict(word) for word in words]),
    }


def _time(seconds: float, mark: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1_000), 1_000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{mark}{milliseconds:03}"

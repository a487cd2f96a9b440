"""The media that the example makes for itself: uncompressed 720p video as Y4M, and its sound beside it as WAV."""

from collections.abc import Callable, Iterator
from pathlib import Path

from examples.speech_video import audio

WIDTH, HEIGHT, RATE = 1280, 720, 12
HEADER = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 Ip A1:1 Cmono\n".encode()
MARK = b"FRAME\n"

Tick = Callable[[float], None]
"""Told how far a task has come, 0 to 100; raises when the run is to stop."""


def make(path: Path, seconds: float) -> None:
    """Write a video in which a bar crosses the picture, and its sound: a sentence each second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = round(seconds * RATE)
    with path.open("wb") as video:
        video.write(HEADER)
        for number in range(frames):
            row = bytearray((column * 200 // WIDTH + number) % 256 for column in range(0, WIDTH, 8) for _ in range(8))
            bar = WIDTH * number // frames
            row[bar : bar + 40] = b"\xff" * len(row[bar : bar + 40])
            video.write(MARK + bytes(row) * HEIGHT)
    audio.synthesise(sound_of(path), [0.5] * max(1, int(seconds)))


def sound_of(path: Path) -> Path:
    """Return where the sound of a video is."""
    return path.with_suffix(".wav")


def is_video(path: Path) -> bool:
    """Tell whether the file is a video of the kind that this example takes."""
    with path.open("rb") as video:
        return video.read(len(HEADER)) == HEADER


def describe(path: Path) -> dict[str, str | float]:
    """Return duration in seconds, resolution and codec."""
    frames = (path.stat().st_size - len(HEADER)) // (len(MARK) + WIDTH * HEIGHT)
    return {"duration_seconds": frames / RATE, "resolution": f"{WIDTH}x{HEIGHT}", "codec": "rawvideo"}


def frames_of(path: Path) -> Iterator[bytes]:
    """Yield the frames of a video, a byte a pixel."""
    with path.open("rb") as video:
        video.readline()
        while video.readline() == MARK:
            yield video.read(WIDTH * HEIGHT)

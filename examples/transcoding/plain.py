"""The tools when there is no ffmpeg: scaling and compression in plain Python."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from examples.speech_video import audio

from .media import HEIGHT, MARK, RATE, WIDTH, Tick, describe, frames_of, sound_of

NAMES = {360: "360p.y4m.gz", 720: "720p.y4m.gz", "audio": "audio.wav"}
TYPES = {"video": "application/gzip", "audio": "audio/wav", "segments": "application/octet-stream"}
SEGMENTS = "z"


def scaled(frame: bytes, step: int) -> bytes:
    """Return each `step`th pixel of each `step`th row."""
    return b"".join(frame[row * WIDTH : (row + 1) * WIDTH : step] for row in range(0, HEIGHT, step))


def transcode(source: Path, height: int, target: Path, tick: Tick) -> None:
    """Write the video at this height, compressed."""
    step, count = HEIGHT // height, float(describe(source)["duration_seconds"]) * RATE
    with gzip.open(target, "wb", compresslevel=1) as video:
        video.write(f"YUV4MPEG2 W{WIDTH // step} H{height} F{RATE}:1 Ip A1:1 Cmono\n".encode())
        for done, frame in enumerate(frames_of(source), start=1):
            video.write(MARK + scaled(frame, step))
            tick(100 * done / count)


def extract_audio(source: Path, target: Path, tick: Tick) -> None:
    """Write the sound at half its rate."""
    samples = audio.load(sound_of(source))
    audio.save(target, samples[::2])
    tick(100)


def cut(source: Path, tick: Tick) -> Iterator[bytes]:
    """Cut a transcoded video into segments of a second each."""
    header, *frames = gzip.decompress(source.read_bytes()).split(MARK)
    for start in range(0, len(frames), RATE):
        content = header + b"".join(MARK + frame for frame in frames[start : start + RATE])
        yield zlib.compress(content, 1)
        tick(100 * start / len(frames))

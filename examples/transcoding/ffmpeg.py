"""The tools when there is ffmpeg: each call is a process of its own, which ends when the run is to stop."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from .media import Tick, sound_of

NAMES = {360: "360p.mp4", 720: "720p.mp4", "audio": "audio.mp3"}
TYPES = {"video": "video/mp4", "audio": "audio/mpeg", "segments": "video/mp2t"}
SEGMENTS = "ts"
GLANCE = 0.1  # seconds between two looks at whether to stop


def run(tick: Tick, *arguments: object) -> None:
    """Run ffmpeg until it has ended, or until `tick` raises."""
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", *map(str, arguments)]
    with subprocess.Popen(command) as process:
        try:
            while process.poll() is None:
                tick(50)
                try:
                    process.wait(GLANCE)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise RuntimeError(f"ffmpeg ended with {process.returncode}")


def transcode(source: Path, height: int, target: Path, tick: Tick) -> None:
    """Write the video at this height, with its sound."""
    sound = sound_of(source)
    run(
        tick,
        "-i",
        source,
        "-i",
        sound,
        "-vf",
        f"scale=-2:{height}",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        target,
    )


def extract_audio(source: Path, target: Path, tick: Tick) -> None:
    """Write the sound as MP3."""
    run(tick, "-i", sound_of(source), target)


def cut(source: Path, tick: Tick) -> Iterator[bytes]:
    """Cut a transcoded video into segments of a second each."""
    with TemporaryDirectory() as folder:
        run(tick, "-i", source, "-c", "copy", "-f", "segment", "-segment_time", 1, Path(folder, "%06d.ts"))
        for path in sorted(Path(folder).iterdir()):
            yield path.read_bytes()

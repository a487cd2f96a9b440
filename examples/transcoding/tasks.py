"""The nine tasks of the DAG: each does its part and returns the artifacts that exist from then on."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from jobledger.v1.chunk_pb2 import Artifact
from PIL import Image

from examples.bucket import Bucket

from . import ffmpeg, media, plain, transcript
from .media import Tick

PLAYLIST = "application/vnd.apple.mpegurl"

tools = ffmpeg if shutil.which("ffmpeg") else plain


class BadUploadError(Exception):
    """The file will never do, however often it is tried."""


@dataclass(frozen=True)
class Work:
    """One run: its job's input, and where its files are."""

    job_id: str
    input: dict[str, Any]
    files: Bucket

    @property
    def source(self) -> Path:
        """The uploaded file."""
        return self.files.path(self.input["file"])

    def path(self, name: str) -> Path:
        """Return the file of an output."""
        return self.files.path(f"{self.job_id}/{name}")

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield where to write an output, which gets its name when it is whole; else nothing of it is left."""
        unfinished = self.path(f"unfinished-{name}")
        try:
            yield unfinished
            unfinished.replace(self.path(name))
        finally:
            unfinished.unlink(missing_ok=True)

    def artifact(self, name: str, content_type: str, **metadata: str | float) -> Artifact:
        """Return the artifact of an output that exists."""
        return self.named(f"{self.job_id}/{name}", content_type, **metadata)

    def named(self, name: str, content_type: str, **metadata: str | float) -> Artifact:
        """Return the artifact of any file of the bucket."""
        size = self.files.size(name)
        artifact = Artifact(uri=self.files.uri(name), content_type=content_type, size_bytes=size)
        artifact.metadata.update(metadata | {"compression_ratio": round(self.input["size_bytes"] / max(size, 1), 2)})
        return artifact


Artifacts: TypeAlias = dict[str, Artifact]
Task: TypeAlias = Callable[[Work, Tick], Artifacts]


def validate(work: Work, _: Tick) -> Artifacts:
    """Refuse what is no video."""
    if not media.is_video(work.source):
        raise BadUploadError(f"{work.source.name} is not a Y4M video of {media.WIDTH}x{media.HEIGHT}")
    return {}


def upload(work: Work, tick: Tick) -> Artifacts:
    """Check that the file arrived whole. It is an artifact too, so that it goes with the job."""
    digest = hashlib.sha256()
    with work.source.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
            tick(100 * content.tell() / work.input["size_bytes"])
    if digest.hexdigest() != work.input["sha256"]:
        raise BadUploadError(f"{work.source.name} is not the file that was announced: its SHA-256 differs")
    work.path("").mkdir(exist_ok=True)
    sound = media.sound_of(work.source)
    return {
        "source": work.named(work.input["file"], "video/x-yuv4mpeg"),
        "source_sound": work.named(work.input["file"].removesuffix(work.source.name) + sound.name, "audio/wav"),
    }


def thumbnail(work: Work, _: Tick) -> Artifacts:
    """Take a picture from the first frame."""
    frame = next(media.frames_of(work.source))
    picture = Image.frombytes("L", (media.WIDTH, media.HEIGHT), frame)
    picture.thumbnail((160, 90))
    picture.save(work.path("thumbnail.png"))
    return {"thumbnail": work.artifact("thumbnail.png", "image/png")}


def transcode(height: int) -> Task:
    """Return the task that transcodes to this height."""

    def task(work: Work, tick: Tick) -> Artifacts:
        name = tools.NAMES[height]
        with work.writing(name) as unfinished:
            tools.transcode(work.source, height, unfinished, tick)
        return {f"{height}p": work.artifact(name, tools.TYPES["video"])}

    return task


def extract_mp3(work: Work, tick: Tick) -> Artifacts:
    """Take the sound out."""
    name = tools.NAMES["audio"]
    with work.writing(name) as unfinished:
        tools.extract_audio(work.source, unfinished, tick)
    return {"audio": work.artifact(name, tools.TYPES["audio"])}


def transcribe(work: Work, _: Tick) -> Artifacts:
    """Write the transcript, in four formats."""
    words = transcript.transcribe(media.sound_of(work.source))
    said: dict[str, str | float] = {
        "language": transcript.LANGUAGE,
        "model": transcript.MODEL,
        "word_count": len(words),
    }
    artifacts = {}
    for extension, text in transcript.formats(words).items():
        work.path(f"transcript.{extension}").write_text(text)
        artifacts[f"transcript.{extension}"] = work.artifact(
            f"transcript.{extension}", transcript.TYPES[extension], **said
        )
    return artifacts


def hls(work: Work, tick: Tick) -> Artifacts:
    """Cut both videos into segments, which lie one behind another in a file, with a playlist each."""
    artifacts = {}
    for before, height in enumerate((360, 720)):
        name = f"{height}p.{tools.SEGMENTS}"
        entries = []
        with work.writing(name) as unfinished, unfinished.open("wb") as file:
            for segment in tools.cut(work.path(tools.NAMES[height]), partial(_tick_half, tick, before)):
                entries.append(f"#EXTINF:1.0,\n#EXT-X-BYTERANGE:{len(segment)}@{file.tell()}\n{name}")
                file.write(segment)
        lines = ["#EXTM3U", "#EXT-X-VERSION:4", "#EXT-X-TARGETDURATION:1", *entries, "#EXT-X-ENDLIST\n"]
        work.path(f"{height}p.m3u8").write_text("\n".join(lines))
        artifacts[f"hls_{height}p"] = work.artifact(f"{height}p.m3u8", PLAYLIST, segments=len(entries))
        artifacts[f"hls_{height}p_segments"] = work.artifact(name, tools.TYPES["segments"])
    return artifacts


def _tick_half(tick: Tick, before: int, percent: float) -> None:
    tick((100 * before + percent) / 2)


def outputs(work: Work, _: Tick) -> Artifacts:
    """Write the playlist of playlists, which is the job's result."""
    streams = [f"#EXT-X-STREAM-INF:BANDWIDTH={height * 4000}\n{height}p.m3u8" for height in (360, 720)]
    work.path("master.m3u8").write_text("\n".join(["#EXTM3U", *streams, ""]))
    return {"hls": work.artifact("master.m3u8", PLAYLIST)}


TASKS: dict[str, Task] = {
    "validate": validate,
    "upload": upload,
    "thumbnail": thumbnail,
    "transcode_360p": transcode(360),
    "transcode_720p": transcode(720),
    "extract_mp3": extract_mp3,
    "transcribe": transcribe,
    "hls": hls,
    "outputs": outputs,
}

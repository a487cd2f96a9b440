"""The nine tasks of the DAG: each does its part and returns the artifacts that exist from then on."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from jobledger.v1.chunk_pb2 import Artifact
from PIL import Image

from examples.bucket import Bucket

from . import ffmpeg, media, plain, transcript
from .media import Tick

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

    def artifact(self, name: str, content_type: str, **metadata: str | float) -> Artifact:
        """Return the artifact of an output that exists."""
        size = self.path(name).stat().st_size
        artifact = Artifact(uri=self.files.uri(f"{self.job_id}/{name}"), content_type=content_type, size_bytes=size)
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
    """Check that the file arrived whole."""
    digest = hashlib.sha256()
    with work.source.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
            tick(100 * content.tell() / work.input["size_bytes"])
    if digest.hexdigest() != work.input["sha256"]:
        raise BadUploadError(f"{work.source.name} is not the file that was announced: its SHA-256 differs")
    work.path("").mkdir(exist_ok=True)
    return {}


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
        tools.transcode(work.source, height, work.path(name), tick)
        return {f"{height}p": work.artifact(name, tools.TYPES["video"])}

    return task


def extract_mp3(work: Work, tick: Tick) -> Artifacts:
    """Take the sound out."""
    name = tools.NAMES["audio"]
    tools.extract_audio(work.source, work.path(name), tick)
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
        artifacts[f"transcript.{extension}"] = work.artifact(f"transcript.{extension}", "text/plain", **said)
    return artifacts


def hls(work: Work, tick: Tick) -> Artifacts:
    """Cut both videos into segments, with a playlist each."""
    artifacts = {}
    for height in (360, 720):
        names = tools.cut(work.path(tools.NAMES[height]), work.path(""), tick)
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", *(f"#EXTINF:1.0,\n{name}" for name in names), "#EXT-X-ENDLIST\n"]
        work.path(f"{height}p.m3u8").write_text("\n".join(lines))
        playlist = work.artifact(f"{height}p.m3u8", "application/vnd.apple.mpegurl", segments=len(names))
        artifacts[f"hls_{height}p"] = playlist
    return artifacts


def outputs(work: Work, _: Tick) -> Artifacts:
    """Write the playlist of playlists, which is the job's result."""
    streams = [f"#EXT-X-STREAM-INF:BANDWIDTH={height * 4000}\n{height}p.m3u8" for height in (360, 720)]
    work.path("master.m3u8").write_text("\n".join(["#EXTM3U", *streams, ""]))
    return {}


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

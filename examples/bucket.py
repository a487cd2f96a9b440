"""A bucket in place of S3: a folder that is served over HTTP, so that answers carry URLs and never local paths."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4


@dataclass(frozen=True)
class Bucket:
    """Where the files are, for workers, and under which URL, for everybody."""

    folder: Path
    url: str

    def path(self, name: str) -> Path:
        """Return the file of this name."""
        return self.folder / name

    def uri(self, name: str) -> str:
        """Return the URL of this name."""
        return f"{self.url}/{name}"

    def directory(self, name: str) -> "Bucket":
        """Return a directory of the bucket."""
        return Bucket(self.path(name), self.uri(name))

    def put(self, name: str, content: bytes) -> str:
        """Write a file, whole or not at all, and return its URL. Doing it twice does no harm."""
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f".{uuid4().hex}"
        unfinished.write_bytes(content)
        unfinished.replace(self.path(name))
        return self.uri(name)

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return self.path(name).stat().st_size


def read(url: str) -> bytes:
    """Return what is at a URL of a bucket."""
    with urlopen(url, timeout=60) as answer:  # noqa: S310  it is http
        content: bytes = answer.read()
        return content


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *_: object) -> None:  # noqa: A002  its name there
        """Say nothing."""


@contextmanager
def bucket(folder: Path) -> Iterator[Bucket]:
    """Serve a folder while it is needed."""
    folder.mkdir(parents=True, exist_ok=True)
    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    serving = threading.Thread(target=web.serve_forever)
    serving.start()
    try:
        yield Bucket(folder, f"http://127.0.0.1:{web.server_port}")
    finally:
        web.shutdown()
        serving.join()
        web.server_close()

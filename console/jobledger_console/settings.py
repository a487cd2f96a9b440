"""The settings of the console."""

from dataclasses import dataclass, field
from datetime import timedelta

import grpc

DEFAULT_PORT = 8080


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line says.

    `root_path` is the path under which a proxy serves the console, such as "/jobledger", or empty. `origins` are the
    addresses, such as "https://jobs.example.org", under which browsers reach it through a proxy.
    """

    target: str = "127.0.0.1:7070"
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    read_only: bool = False
    root_path: str = ""
    origins: tuple[str, ...] = ()
    credentials: grpc.ChannelCredentials | None = field(default=None, repr=False)
    timeout: timedelta = timedelta(seconds=10)
    session_timeout: timedelta = timedelta(hours=12)

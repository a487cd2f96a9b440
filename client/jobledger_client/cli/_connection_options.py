"""The options of both command lines for the caller's key, TLS and the format of the output."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import grpc
import typer

PANEL = "Connection and output"


class Output(StrEnum):
    """The formats of the output."""

    TEXT = "text"
    JSON = "json"


ApiKey = Annotated[
    str | None, typer.Option(metavar="KEY", help="The API key. [env: JOBLEDGER_API_KEY]", rich_help_panel=PANEL)
]
Tls = Annotated[bool | None, typer.Option("--tls", help="Connect over TLS.", rich_help_panel=PANEL, show_default=False)]
CaFile = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="PEM file to trust, with TLS.", rich_help_panel=PANEL)
]
CertFile = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, help="PEM file of the client's certificate, with TLS.", rich_help_panel=PANEL
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="PEM file of its private key.", rich_help_panel=PANEL),
]


def credentials_of(
    ca_file: Path | None, cert_file: Path | None, key_file: Path | None, *, tls: bool | None
) -> grpc.ChannelCredentials | None:
    """Return the credentials of a connection over TLS, which each of the files asks for; None without TLS."""
    files = (ca_file, key_file, cert_file)
    if not (tls or any(files)):
        return None
    trusted, private, certificate = (file.read_bytes() if file else None for file in files)
    return grpc.ssl_channel_credentials(trusted, private, certificate)

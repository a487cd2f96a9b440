"""How a command asks a running server: the flags that say where it is and who asks, and the call."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import grpc
import typer
from google.protobuf.message import Message

REFUSED: Final = 65
"""Exit status when what was asked for was refused (EX_DATAERR of sysexits.h)."""
UNREACHABLE: Final = 69
NOT_PERMITTED: Final = 77

CONNECTION_PANEL: Final = "Connection"
ApiKey = Annotated[
    str,
    typer.Option(
        envvar="JOBLEDGER_API_KEY", metavar="KEY", help="An admin's API key.", rich_help_panel=CONNECTION_PANEL
    ),
]
Tls = Annotated[bool, typer.Option("--tls", help="Use TLS.", rich_help_panel=CONNECTION_PANEL)]
OptionalPath = Path | None
CaFile = Annotated[
    OptionalPath, typer.Option(exists=True, help="PEM file of the CA to trust.", rich_help_panel=CONNECTION_PANEL)
]
CertFile = Annotated[
    OptionalPath,
    typer.Option(exists=True, help="PEM file of the client certificate.", rich_help_panel=CONNECTION_PANEL),
]
KeyFile = Annotated[
    OptionalPath, typer.Option(exists=True, help="PEM file of its private key.", rich_help_panel=CONNECTION_PANEL)
]


class RefusedError(Exception):
    """What was asked for was not done; `status` is the exit status that says so."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class ServerConnection:
    """A running server at HOST:PORT; asked over TLS when there are credentials, by another name than HOST if given."""

    server: str
    api_key: str = field(repr=False)
    credentials: grpc.ChannelCredentials | None
    name: str = ""

    def call(self, stub: Any, method: str, request: Message, timeout: float) -> Any:  # noqa: ANN401  the method's answer
        """Return the answer of the service that `stub` is the class of, within seconds; raises RefusedError."""
        metadata = [("authorization", f"Bearer {self.api_key}")] if self.api_key else []
        with self._channel() as channel:
            try:
                return getattr(stub(channel), method)(request, timeout=timeout, metadata=metadata)
            except grpc.RpcError as error:
                raise _refused(self.server, error) from None

    def _channel(self) -> grpc.Channel:
        if self.credentials is None:
            return grpc.insecure_channel(self.server)
        options = [("grpc.ssl_target_name_override", self.name)] if self.name else []
        return grpc.secure_channel(self.server, self.credentials, options)


def credentials_of(
    ca_file: OptionalPath, cert_file: OptionalPath, key_file: OptionalPath, *, tls: bool
) -> grpc.ChannelCredentials | None:
    """Return what the flags say about TLS, None for none: each of the files is for TLS."""
    if not (tls or ca_file or cert_file):
        return None
    return grpc.ssl_channel_credentials(
        *(file.read_bytes() if file else None for file in (ca_file, key_file, cert_file))
    )


def _refused(server: str, error: Any) -> RefusedError:  # noqa: ANN401  a grpc.RpcError that is a grpc.Call too
    match error.code():
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return RefusedError(error.details(), NOT_PERMITTED)
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            return RefusedError(f"the server at {server} could not be reached: {error.details()}", UNREACHABLE)
    return RefusedError(error.details(), REFUSED)

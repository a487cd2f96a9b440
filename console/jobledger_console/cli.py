"""The command, `jobledger-console`: its options, and the handling of errors."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer
from jobledger_client.cli import _error_output as error_output
from jobledger_client.cli._connection_options import CaFile, CertFile, KeyFile, Tls, credentials_of
from jobledger_client.cli._exit_codes import DONE
from jobledger_client.cli._parse import timeout as duration_above_zero

from jobledger_console import __version__
from jobledger_console.settings import DEFAULT_PORT, Settings

PROGRAM: Final = "jobledger-console"
_MAX_PORT: Final = 65_535
_CONFIGURATION: Final = 78

cli = typer.Typer(
    name=PROGRAM,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command that the process was given, and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code. An error is one sentence on standard error."""
    return error_output.run_command(typer.main.get_command(cli), arguments, PROGRAM)


Version = Annotated[bool | None, error_output.version_option(PROGRAM, __version__)]
Duration = Annotated[
    timedelta, typer.Option(parser=duration_above_zero, metavar="DURATION", help="The timeout of a call, such as 30s.")
]


@cli.command()
def serve(
    *,
    target: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The Jobledger server.", envvar="JOBLEDGER_TARGET")
    ] = "127.0.0.1:7070",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where browsers reach the console; port 0 takes a free one.")
    ] = f"127.0.0.1:{DEFAULT_PORT}",
    read_only: Annotated[bool, typer.Option("--read-only", help="Show nothing that changes anything.")] = False,
    root_path: Annotated[
        str, typer.Option(metavar="PATH", help="The path under which a proxy serves the console, such as /jobledger.")
    ] = "",
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="An address of the console for browsers, such as https://jobs.example.org; may be repeated.",
        ),
    ] = None,
    timeout: Duration = timedelta(seconds=10),
    session_timeout: Annotated[
        timedelta,
        typer.Option(
            parser=duration_above_zero,
            metavar="DURATION",
            help="How long somebody without an open page stays signed in, such as 2h.",
        ),
    ] = timedelta(hours=12),
    tls: Tls = None,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
    version: Version = None,  # noqa: ARG001 - eager
) -> int:
    """Serve web pages that show, and change, the jobs of a Jobledger server, until SIGTERM or Ctrl-C.

    People sign in with an API key, which stays in the memory of this process; a server without keys needs none.

    Example: jobledger-console --target 127.0.0.1:7070 --listen 127.0.0.1:8080
    """
    host, port = _address("--listen", listen)
    settings = Settings(
        target=target,
        host=host,
        port=port,
        read_only=read_only,
        root_path=_root_path(root_path),
        origins=tuple(_origin(address) for address in origin or ()),
        credentials=credentials_of(ca_file, cert_file, key_file, tls=tls),
        timeout=timeout,
        session_timeout=session_timeout,
    )
    _address("--target", target)
    return _serve(settings)


def _serve(settings: Settings) -> int:
    from jobledger_console import server  # noqa: PLC0415 - NiceGUI takes a second, which --help does not need

    try:
        listening = server.listen(settings.host, settings.port)
    except server.CannotListenError as error:
        error_output.print_sentence(str(error), program=PROGRAM)
        return _CONFIGURATION
    server.serve(settings, listening, _print_address)
    return DONE


def _print_address(address: str) -> None:
    print(f"{PROGRAM} listening on {address}", flush=True)  # noqa: T201 - what the command prints


def _address(option: str, word: str) -> tuple[str, int]:
    host, colon, port = word.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
        raise typer.BadParameter(f"{option}: must be HOST:PORT, such as 127.0.0.1:8080; got {word!r}")
    return host.strip("[]"), int(port)


def _root_path(word: str) -> str:
    path = word.rstrip("/")
    is_path = not path or (
        path.startswith("/")
        and "//" not in path
        and path.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum()
    )
    if not (is_path and path.isascii()):
        raise typer.BadParameter(
            f"--root-path: must be a path such as /jobledger, of letters, digits and . _ -; got {word!r}"
        )
    return path


def _origin(word: str) -> str:
    parts = urlsplit(word)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise typer.BadParameter(
            f"--origin: must be an address without a path, such as https://jobs.example.org; got {word!r}"
        )
    return f"{parts.scheme}://{parts.netloc}".lower()

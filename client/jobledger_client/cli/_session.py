"""The options of every command, its connection, and its output."""

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer
from rich.console import Console

from jobledger_client._connection import ConnectionOptions
from jobledger_client._sync._client import JobClient
from jobledger_client.cli import _json
from jobledger_client.cli._connection import Notice
from jobledger_client.cli._connection_options import (
    PANEL,
    ApiKey,
    CaFile,
    CertFile,
    KeyFile,
    Output,
    Tls,
    credentials_of,
)
from jobledger_client.cli._parse import pairs, timeout

_PIPE_WIDTH = 1_000  # columns, where no terminal limits the width


@dataclass(frozen=True, slots=True)
class Options:
    """The options before and after the command; None for an option that is absent."""

    target: str | None = None
    api_key: str | None = field(default=None, repr=False)
    metadata: list[str] | None = None
    tls: bool | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    timeout: timedelta | None = None
    output: Output | None = None

    def over(self, others: "Options") -> "Options":
        """Return these options, with those of `others` where these are absent."""
        names = [field.name for field in fields(Options)]
        return Options(**{name: getattr(self, name) or getattr(others, name) for name in names})


_DECLARED: dict[str, Any] = {
    "target": Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The server. [env: JOBLEDGER_TARGET; default: 127.0.0.1:7070]",
            rich_help_panel=PANEL,
        ),
    ],
    "api_key": ApiKey,
    "metadata": Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="gRPC metadata to send along; may be repeated.", rich_help_panel=PANEL),
    ],
    "tls": Tls,
    "ca_file": CaFile,
    "cert_file": CertFile,
    "key_file": KeyFile,
    "timeout": Annotated[
        timedelta | None,
        typer.Option(
            parser=timeout,
            metavar="DURATION",
            help="The timeout of a call, such as 30s; with `watch` and --wait, how long to follow the job. "
            "[default: 10s; no limit]",
            rich_help_panel=PANEL,
        ),
    ],
    "output": Annotated[
        Output | None,
        typer.Option("--output", "-o", help="The format of the output. [default: text]", rich_help_panel=PANEL),
    ],
}


class Session:
    """The connection and the output of one command."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._started_at = monotonic()
        self.timeout = options.timeout
        self.as_json = options.output is Output.JSON
        self.console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)

    def remaining(self) -> timedelta | None:
        """Return what remains of --timeout for the whole command; None without a limit."""
        if self.timeout is None:
            return None
        return max(self.timeout - timedelta(seconds=monotonic() - self._started_at), timedelta(milliseconds=1))

    def print_note(self, sentence: str) -> None:
        """Print a note for people on standard error; the JSON output has its content."""
        if not self.as_json:
            Console(stderr=True).print(sentence, style="dim", markup=False, highlight=False, soft_wrap=True)

    def print_notice(self, notice: Notice) -> None:
        """Print a notice on standard error, as JSON if the output is JSON."""
        if self.as_json:
            _json.print_line({"notice": {"kind": notice.kind, "message": notice.sentence}}, sys.stderr)
        else:
            print(f"jobledger: {notice.sentence}", file=sys.stderr, flush=True)

    @property
    def target(self) -> str:
        """The address of the server."""
        return self._options.target or os.environ.get("JOBLEDGER_TARGET") or "127.0.0.1:7070"

    def client(self) -> JobClient:
        """Return a client for the server; a context manager."""
        timeout = self._options.timeout or timedelta(seconds=10)
        return JobClient(self.target, timeout=timeout, **self.connection_options())

    def connection_options(self) -> ConnectionOptions:
        """Return the key, the credentials and the metadata of a connection."""
        options = self._options
        return ConnectionOptions(
            api_key=options.api_key,
            credentials=credentials_of(options.ca_file, options.cert_file, options.key_file, tls=options.tls),
            metadata=pairs("--metadata", options.metadata or ()),
        )


def new_app() -> typer.Typer:
    """Return an application without commands."""
    return typer.Typer(
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def add_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `Options` to a function of (…, options), as parameters that typer reads."""

    def with_options(*args: Any, **parameters: Any) -> Any:  # noqa: ANN401 - typer calls it by the signature set below
        options = Options(**{name: parameters.pop(name) for name in _DECLARED})
        return function(*args, options=options, **parameters)

    declared = [parameter for name, parameter in inspect.signature(function).parameters.items() if name != "options"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in _DECLARED.items()]
    _declare(with_options, [*declared, *added])
    return with_options


def command(app: typer.Typer, name: str, *examples: str) -> Callable[[Callable[..., int | None]], None]:
    """Register a function of (session, …) as a command; it returns the exit code, or None for 0."""

    def register(function: Callable[..., int | None]) -> None:
        def call(context: typer.Context, options: Options, **parameters: Any) -> int:  # noqa: ANN401 - as above
            session = Session(options.over(context.obj or Options()))
            return function(session, **parameters) or 0

        context, options, _ = inspect.signature(call).parameters.values()
        declared = [parameter for key, parameter in inspect.signature(function).parameters.items() if key != "session"]
        _declare(call, [context, options, *declared])
        app.command(name, help=with_examples(inspect.getdoc(function) or "", "Examples:", *examples))(add_options(call))

    return register


def with_examples(text: str, heading: str, *lines: str) -> str:
    """Return a help text with further lines; the backspace keeps click from wrapping them."""
    return "\n".join([text, "", "\b", heading, *(f"  {line}" for line in lines)])


def _declare(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    """Set the signature of a function, all parameters by keyword, for inspect and typing."""
    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    function.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined] # inspect reads it
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}

"""The command line of the server: its commands are imported when they are called, or listed."""

import gc
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from jobledger_service import VERSION

_MODULES: Final = {
    "serve": "serve",
    "config": "config",
    "migrate": "databases",
    "backup": "databases",
    "recount": "databases",
    "restore": "databases",
    "new-epoch": "databases",
    "health": "health",
    "keys": "keys",
}
"""The module of each command."""


class _Commands(Mapping[str, Any]):
    """The commands by name, each imported when it is looked up: `serve` and `--version` need few of them."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  typer has a click of its own
        module = import_module(f"{__package__}.{_MODULES[name]}")
        return typer.main.get_group(module.cli).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


class _Group(TyperGroup):
    def __init__(self, **options: Any) -> None:  # noqa: ANN401  typer's
        super().__init__(**options)
        self.commands = _Commands()  # type: ignore[assignment] # it is only read


cli = typer.Typer(
    name="jobledger-server",
    cls=_Group,
    help="Jobledger: the system of record for long-running jobs.",
    no_args_is_help=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool | None) -> None:  # noqa: FBT001  typer calls it so
    if asked:
        typer.echo(f"jobledger-server {VERSION}")
        raise typer.Exit


Version = Annotated[
    bool | None, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
]


@cli.callback()
def _root(version: Version = None) -> None:  # noqa: ARG001  its callback has answered
    """Jobledger: the system of record for long-running jobs."""
    from . import logs  # noqa: PLC0415  `--version` does without

    logs.set_up("warning", "auto")


def main() -> None:
    """Run the command line."""
    # Imported modules stay: the collector would examine them again and again, a sixth of a start.
    gc.set_threshold(1_000_000, 50, 1_000)
    # structlog imports rich for tracebacks of a kind that no log of ours has: 28 ms, and 5 MiB of a server's memory.
    sys.modules["rich"] = None  # type: ignore[assignment] # as if it were not installed
    import structlog  # noqa: F401, PLC0415  imported without rich

    del sys.modules["rich"]
    from .exit_status import exit_status  # noqa: PLC0415  it imports structlog

    command = typer.main.get_command(cli)
    sys.exit(exit_status(lambda: command.main(prog_name="jobledger-server", standalone_mode=False)))

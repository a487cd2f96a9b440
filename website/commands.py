"""Pages of the command lines: each command with its arguments, options and examples."""

import html
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import typer
from typer.core import TyperGroup

PROGRAMS: dict[str, tuple[str, str]] = {
    "jobledger": ("jobledger_client.cli._main", "application"),
    "jobledger-server": ("jobledger_service.cli.main", "cli"),
    "jobledger-console": ("jobledger_console.cli", "cli"),
}
"""The programs, each with the module that has its command, or a function that returns it."""


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each program's page."""
    for program, (module, name) in PROGRAMS.items():
        if find_spec(module.partition(".")[0]) is None:
            continue  # it is not installed
        value = getattr(import_module(module), name)
        command = typer.main.get_command(value if isinstance(value, typer.Typer) else value())
        with command.make_context(program, [], resilient_parsing=True) as context:
            yield f"{program}.md", "\n\n".join(_blocks(command, context, depth=1)) + "\n"


def _blocks(command: Any, context: Any, depth: int) -> Iterator[str]:
    yield f"{'#' * min(depth, 3)} {context.command_path}"
    yield from _text(command.help or "")
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    yield from _parameters(command, context)
    for name in command.list_commands(context) if isinstance(command, TyperGroup) else ():
        inner = command.commands[name]
        with inner.make_context(name, [], parent=context, resilient_parsing=True) as below:
            yield from _blocks(inner, below, depth + 1)


def _text(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help; what is indented, such as an example, is code."""
    for paragraph in re.split(r"\n\s*\n", text.replace("\b", "")):
        lines = [line for line in paragraph.splitlines() if line.strip()]
        indented = [line for line in lines if line.startswith(" ")]
        prose = " ".join(line for line in lines if not line.startswith(" "))
        if prose.startswith("Example: "):
            indented, prose = [f"  {prose.removeprefix('Example: ')}"], "Example:"
        if prose:
            yield _escaped(prose)
        if indented:
            yield "```text\n" + "\n".join(line.strip() for line in indented) + "\n```"


def _parameters(command: Any, context: Any) -> Iterator[str]:
    records = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    if records:
        rows = [f"| {_code(name)} | {_escaped(text)} |" for name, text in records]
        yield "\n".join(["| argument or option | |", "|---|---|", *rows])


def _code(text: str) -> str:
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def _escaped(text: str) -> str:
    return re.sub(r"([|<>*_\[\]])", r"\\\1", " ".join(text.split()))

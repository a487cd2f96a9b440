"""The settings as flags of a command: each field of Settings is one flag, one variable, and one default."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_args

import typer

from jobledger_service.settings import (
    SETTINGS,
    InvalidSettingsError,
    Settings,
    is_span,
    kind_of,
    read_settings,
    text_of,
)

from .configuration import masked, variable
from .exits import CONFIGURATION, print_error, refuse_unknown_names

Result = TypeVar("Result")


def option(name: str) -> Any:  # noqa: ANN401  what typer takes
    """Return the flag of a setting."""
    kind, said = kind_of(name)
    choices = get_args(kind)
    return typer.Option(
        flag(name),
        help=f"{said.description} [default: {_shown(name)}]",
        envvar=variable(name),
        show_default=False,
        metavar="|".join(choices) or ("SPAN" if is_span(name) else None),
        autocompletion=(lambda: list(choices)) if choices else None,
    )


def _shown(name: str) -> str:
    default = SETTINGS[name].default
    if default is None:
        return "none"
    return text_of(float(default)) if is_span(name) else str(default)


def flag(setting: str) -> str:
    """Return the name of a setting on the command line."""
    return "--" + setting.replace("_", "-")


def takes_settings(command: Callable[..., Result]) -> Callable[..., Result]:
    """Give a command a flag for every setting; its argument `flags` has them by name, None for absent ones."""
    parameters = [
        parameter for parameter in inspect.signature(command).parameters.values() if parameter.name != "flags"
    ]

    def called(**arguments: Any) -> Result:  # noqa: ANN401  typer's
        return command(flags={name: arguments.pop(name) for name in SETTINGS}, **arguments)

    settings = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_flag_type(name), option(name)],
        )
        for name in SETTINGS
    ]
    called.__signature__ = inspect.Signature([*parameters, *settings])  # type: ignore[attr-defined] # typer reads it
    called.__doc__ = command.__doc__
    return called


def _flag_type(name: str) -> Any:  # noqa: ANN401  a type
    """Return the type that typer reads: settings check the value themselves, and read spans of time."""
    kind, _ = kind_of(name)
    return kind | None if kind in (bool, float, int) and not is_span(name) else str | None


def settings_of(**flags: Any) -> Settings:  # noqa: ANN401  the settings check their values
    """Return the settings: flags, else the environment; exit when a value is invalid."""
    refuse_unknown_names()
    try:
        return read_settings(flags)
    except InvalidSettingsError as error:
        for name, given_value, rule in error.problems:
            value = repr(masked(name, given_value))
            print_error(f"{flag(name)}: {rule}" if value in rule else f"{flag(name)}: {value}: {rule}")
        raise typer.Exit(CONFIGURATION) from None

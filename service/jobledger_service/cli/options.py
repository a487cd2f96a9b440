"""The settings as flags of a command: each field of Settings is one flag, one variable, and one default."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from jobledger_service.settings import SPAN, Settings, text_of

from .configuration import masked, variable
from .exits import CONFIGURATION, print_error, refuse_unknown_names

Result = TypeVar("Result")

DEFAULT: Final = "default"
_SOURCES: Final = {"COMMANDLINE": "flag", "ENVIRONMENT": "environment"}


def option(setting: str) -> Any:  # noqa: ANN401  what typer takes
    """Return the flag of a setting."""
    field = Settings.model_fields[setting]
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return typer.Option(
        flag(setting),
        help=f"{field.description} [default: {_shown(field)}]",
        envvar=variable(setting),
        show_default=False,
        metavar="|".join(choices) or ("SPAN" if SPAN in field.metadata else None),
        autocompletion=(lambda: list(choices)) if choices else None,
    )


def _shown(field: FieldInfo) -> str:
    if field.default is None:
        return "none"
    return text_of(float(field.default)) if SPAN in field.metadata else str(field.default)


def flag(setting: str) -> str:
    """Return the name of a setting on the command line."""
    return "--" + setting.replace("_", "-")


def takes_settings(command: Callable[..., Result]) -> Callable[..., Result]:
    """Give a command a flag for every setting; they are its argument `given`, by name, None where not given."""
    own = [one for one in inspect.signature(command).parameters.values() if one.name != "given"]

    def called(**arguments: Any) -> Result:  # noqa: ANN401  typer's
        return command(given={name: arguments.pop(name) for name in Settings.model_fields}, **arguments)

    flags = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_flag_type(field), option(name)],
        )
        for name, field in Settings.model_fields.items()
    ]
    called.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined] # typer reads it
    called.__doc__ = command.__doc__
    return called


def _flag_type(field: FieldInfo) -> Any:  # noqa: ANN401  a type
    """Return the type that typer reads: settings check the value themselves, and read spans of time."""
    if SPAN in field.metadata:
        return str | None
    named = {field.annotation, *get_args(field.annotation)}
    for kind in (bool, float, int):
        if kind in named:
            return kind | None
    return str | None


def source_of(context: typer.Context, setting: str) -> str:
    """Return the source of a command's setting: flag, environment or default."""
    source = context.get_parameter_source(setting)
    return _SOURCES.get(source.name, DEFAULT) if source else DEFAULT


def settings_of(**given: Any) -> Settings:  # noqa: ANN401  the settings check their values
    """Return the settings: what was given, else what the environment says; exit where either cannot be."""
    refuse_unknown_names()
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0])
            value, rule = repr(masked(name, problem["input"])), problem["msg"].removeprefix("Value error, ")
            print_error(f"{flag(name)}: {rule}" if value in rule else f"{flag(name)}: {value}: {rule}")
        raise typer.Exit(CONFIGURATION) from None

"""Functions that are made from tables of fields, as code.

A function over forty fields that looks each of them up by name in a loop costs half as much again as one that is
written out. So it is written out here, once, when it is imported, as msgspec and dataclasses do it. What is compiled
are the names of fields and of classes of this service, never anything that came from outside.
"""

from collections.abc import Mapping
from typing import Any

from .fields import field_of, type_of


def compiled(name: str, arguments: str, lines: list[str], scope: Mapping[str, Any]) -> Any:  # noqa: ANN401  a function
    """Return the function of these lines, which may use the names in `scope`."""
    source = "\n    ".join([f"def {name}({arguments}):", *lines])
    values = dict(scope)
    exec(compile(source, f"<{name}, made from the fields>", "exec"), values)  # noqa: S102  see above
    return values[name]


def construction(type_: Any, places: Mapping[str, str], scope: dict[str, Any], within: str = "") -> str:  # noqa: ANN401
    """Return the expression that makes a value and the values in it, from those of its fields, by their paths.

    A field that has none is a value of fields, or has its default. What the expression needs is added to `scope`.
    """
    scope[type_.__name__] = type_
    arguments = []
    for name in type_.__struct_fields__:
        path = within + name
        if path in places:
            arguments.append(places[path])
        elif any(place.startswith(f"{path}.") for place in places):
            arguments.append(construction(type_of(type_, name), places, scope, f"{path}."))
        else:
            default = "default_" + path.replace(".", "_")
            scope[default] = field_of(type_, name).default
            arguments.append(default)
    return f"{type_.__name__}({', '.join(arguments)})"

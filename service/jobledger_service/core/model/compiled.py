"""Functions that are made from tables of fields, as code.

A function over forty fields that looks each of them up by name in a loop costs half as much again as one that is
written out. So it is written out here, once, when it is imported, as msgspec and dataclasses do it. What is compiled
are the names of fields and of classes of this service, never anything that came from outside.
"""

from collections.abc import Mapping
from typing import Any


def compiled(name: str, arguments: str, lines: list[str], scope: Mapping[str, Any]) -> Any:  # noqa: ANN401  a function
    """Return the function of these lines, which may use the names in `scope`."""
    source = "\n    ".join([f"def {name}({arguments}):", *lines])
    values = dict(scope)
    exec(compile(source, f"<{name}, made from the fields>", "exec"), values)  # noqa: S102  see above
    return values[name]

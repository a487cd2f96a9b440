"""Scopes of concurrency limits, and the one form in which rows and keys have them."""

from typing import Final

from msgspec import Struct as MsgStruct

MAX_RUNNING: Final = 1_000_000
MAX_LIMITED_LABELS: Final = 8
MAX_COUNTED_PLACE: Final = 10_000
"""The maximum count of jobs ahead of a waiting job."""


class LimitScope(MsgStruct, frozen=True):
    """What a limit is over: a kind; one value of a label; or each value of a label by itself, when `value` is None."""

    kind: str = ""
    label: str = ""
    value: str | None = None

    @property
    def text(self) -> str:
        """The form in rows and keys: "kind:KIND", "label:NAME=VALUE" or "each:NAME"."""
        if self.kind:
            return f"kind:{self.kind}"
        return f"each:{self.label}" if self.of_each_value else f"label:{self.label}={self.value}"

    @property
    def of_each_value(self) -> bool:
        """Whether it is each value of a label."""
        return not self.kind and self.value is None

    @property
    def each(self) -> "LimitScope | None":
        """The scope whose limit a value of a label follows while it has none of its own; None for other scopes."""
        return None if self.value is None else LimitScope(label=self.label)


def scope_of(text: str) -> LimitScope:
    """Return the scope of a text."""
    what, _, rest = text.partition(":")
    match what:
        case "kind":
            return LimitScope(kind=rest)
        case "each":
            return LimitScope(label=rest)
    name, _, value = rest.partition("=")
    return LimitScope(label=name, value=value)


def limit_key(owner: str, scope: LimitScope) -> str:
    """Return the ledger-wide key of a limit."""
    return f"{owner}/{scope.text}"


def scope_of_key(key: str) -> LimitScope:
    """Return the scope of a ledger-wide key."""
    return scope_of(key.partition("/")[2])

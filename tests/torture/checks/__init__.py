"""What is checked of a history: one function for each guarantee and invariant, which yields what contradicts it.

Outcomes that a caller cannot know count as may-have-happened. Where a fail-over lost commits, what was acknowledged in
the lost time may be gone; nothing else is forgiven for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.torture.history import History

Check = Callable[[History], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Violation:
    """One contradiction of a guarantee."""

    guarantee: str
    text: str

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.guarantee}: {self.text}"


CHECKS: dict[str, Check] = {}
"""All checks by the guarantee's number in the design and its name."""


def guarantee(name: str) -> Callable[[Check], Check]:
    """Register a check."""

    def register(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return register


def check(history: History) -> list[Violation]:
    """Return all violations, by guarantee; with nothing to compare with, only that and the defects."""
    if history.no_end:
        lines = [f"the end could not be recorded, and nothing was checked: {history.no_end}", *history.defects]
        return [Violation("the run", line) for line in lines]
    from tests.torture.checks import durability, invariants, isolation, watches, workers  # noqa: F401, PLC0415 - register

    return [Violation(name, text) for name, function in CHECKS.items() for text in function(history)]

"""What is told of each call: how long it took, how it ended, and what was sent."""

from typing import Protocol


class MethodObserver(Protocol):
    """Observes the calls of one method, on the event loop; it must be quick and never raise."""

    def began(self) -> None:
        """Note that a call came in."""

    def sent(self) -> None:
        """Note that a message of a stream was sent."""

    def ended(self, code: str, seconds: float) -> None:
        """Note the end of a call with the name of its status code, `seconds` after it began."""


class CallsObserver(Protocol):
    """Returns the observer of each method."""

    def method(self, name: str, *, streams: bool) -> MethodObserver:
        """Return who hears of a method, `package.Service/Method`; `streams` when it answers with a stream."""


class NullObserver:
    """Observes nothing."""

    def method(self, name: str, *, streams: bool) -> MethodObserver:  # noqa: ARG002  the form
        """Return an observer that does nothing."""
        return self

    def began(self) -> None:
        """Do nothing."""

    def sent(self) -> None:
        """Do nothing."""

    def ended(self, code: str, seconds: float) -> None:
        """Do nothing."""

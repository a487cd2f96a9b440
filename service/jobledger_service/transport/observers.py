"""Observers of calls: they are notified of the start, the messages and the end of each call."""

from typing import Protocol


class MethodObserver(Protocol):
    """Observes the calls of one method, on the event loop; it must be quick and never raise."""

    def began(self) -> None:
        """Record the start of a call."""

    def sent(self) -> None:
        """Record a message of a stream."""

    def ended(self, code: str, seconds: float) -> None:
        """Record the end of a call with the name of its status code, `seconds` after its start."""


class CallsObserver(Protocol):
    """Returns the observer of each method."""

    def method(self, name: str, *, streams: bool) -> MethodObserver:
        """Return the observer of a method, `package.Service/Method`; `streams` when it answers with a stream."""


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

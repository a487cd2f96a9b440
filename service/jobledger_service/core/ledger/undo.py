"""The undo log of a batch: what a refused command did is taken back, and the commands before it stay."""

from typing import Any, Final

_MISSING: Final = object()


class Undo:
    """Changes dicts, lists and attributes so that what was done since the last mark can be taken back."""

    def __init__(self) -> None:
        self._log: list[tuple[Any, Any, Any]] = []

    def mark(self) -> None:
        """Begin a command: what follows can be rolled back."""
        self._log.clear()

    def put(self, target: dict[Any, Any], key: object, value: object) -> None:
        """Set a key of a dict."""
        self._log.append((target, key, target.get(key, _MISSING)))
        target[key] = value

    def append(self, target: list[Any], value: object) -> None:
        """Append to a list."""
        target.append(value)
        self._log.append((target, None, None))

    def assign(self, target: object, name: str, value: object) -> None:
        """Set an attribute."""
        self._log.append((target, name, getattr(target, name)))
        setattr(target, name, value)

    @property
    def savepoint(self) -> int:
        """How much was done since the mark, to come back to."""
        return len(self._log)

    def rollback(self, savepoint: int = 0) -> None:
        """Undo what was done since the mark, or since it was at a place."""
        for target, key, old in reversed(self._log[savepoint:]):
            if isinstance(target, list):
                target.pop()
            elif not isinstance(target, dict):
                setattr(target, key, old)
            elif old is _MISSING:
                del target[key]
            else:
                target[key] = old
        del self._log[savepoint:]

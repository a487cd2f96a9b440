"""The undo log of a batch: it undoes what a refused command did, and keeps the commands before it."""

from typing import Any, Final

from msgspec import Struct as MsgStruct

_MISSING: Final = object()


class Undo(MsgStruct):
    """Changes dicts, lists and attributes so that changes of the current command can be undone."""

    _log: list[tuple[Any, Any, Any]] = []

    def clear(self) -> None:
        """Begin a command: what was done before is not undone any more."""
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
        """The number of changes of the command, to return to."""
        return len(self._log)

    def rollback(self, savepoint: int = 0) -> None:
        """Undo the changes of the command, or those since a place in it."""
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

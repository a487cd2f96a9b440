"""Services whose methods are of several parts of the server."""


class Joined:
    """One service; each of its methods is that of the part which has it."""

    def __init__(self, *parts: object) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> object:
        """Return the attribute of the part that has it."""
        part = next((one for one in self._parts if hasattr(one, name)), None)
        if part is None:
            raise AttributeError(name)
        found: object = getattr(part, name)
        return found

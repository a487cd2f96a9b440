"""What does not fit in a commit is postponed to the next one: a command, or the rest of one of which a part is done."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .commands import Command


class Postponed(Exception):  # noqa: N818  no error: the caller waits for the next commit
    """The command moves to the next batch.

    `decide` raises it when the command has to change nothing now, and returns it with the `rest` when a part is done.
    """

    def __init__(self, rest: "Command[Any, Any] | None" = None) -> None:
        super().__init__()
        self.rest = rest

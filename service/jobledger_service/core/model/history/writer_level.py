"""The writer level: which versions of the server may write to a database."""

from typing import Final

WRITER_LEVEL: Final = 2
"""The level of this code. The ledger's row stores the lowest level that may write to the database. Raise it together
with a migration after which servers without the new code would write wrong or incomplete rows, for example one that
adds a table that every commit must update."""

OUTDATED: Final = 76
"""The exit status of a server that is too old for its database and has drained (EX_PROTOCOL)."""


def may_write(lowest: int) -> bool:
    """Return whether this server may write to a database with this lowest level."""
    return lowest <= WRITER_LEVEL


def outdated(lowest: int) -> str:
    """Return the message for a server that is too old to write to a database."""
    return (
        f"the database accepts writes from servers of writer level {lowest} or above; this one has {WRITER_LEVEL}:"
        " it drains and exits"
    )

"""The writer level: which versions of the server may write to a database."""

from typing import Final

WRITER_LEVEL: Final = 1
"""The level of this code. The ledger's row names the lowest level that may write to the database.

Raise it together with a migration after which servers without the new code would write rows that are wrong or
incomplete, such as one that adds a table that every commit has to keep.
"""


def may_write(lowest: int) -> bool:
    """Return whether this server may write to a database that names this lowest level."""
    return lowest <= WRITER_LEVEL


def outdated(lowest: int) -> str:
    """Return the sentence for a server that a database takes no more writes from."""
    return (
        f"the database accepts writes from servers of writer level {lowest} or above; this one has {WRITER_LEVEL}:"
        " it drains and exits"
    )


OUTDATED: Final = 76
"""The database takes writes of newer servers alone; the server drained (EX_PROTOCOL)."""

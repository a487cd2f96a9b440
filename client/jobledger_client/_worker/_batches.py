"""Messages are sent together up to a number and up to a size."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

MAX_BATCH = 500
MAX_BATCH_BYTES = 1024 * 1024
"""What one call may have; a single item that is larger goes alone. The server's limit is 4 MiB by default."""


def batches(
    items: Iterable[Item], size_of: Callable[[Item], int], *, max_bytes: int = MAX_BATCH_BYTES
) -> Iterator[list[Item]]:
    """Yield the items in order, in batches within both bounds."""
    batch: list[Item] = []
    size = 0
    for item in items:
        more = size_of(item)
        if batch and (len(batch) >= MAX_BATCH or size + more > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += more
    if batch:
        yield batch

"""Messages are sent together up to a number and up to a size."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import grpc

from jobledger_client._errors import InvalidFieldError, JobledgerError, MessageTooLargeError

Item = TypeVar("Item")

MAX_BATCH = 500
MAX_BATCH_BYTES = 1024 * 1024
"""What one call may have; a single item that is larger goes alone. The server's limit is 4 MiB by default."""

MIN_REPORT_BYTES = 1_024
"""The smallest that a server may be told to accept: what is refused below it is not refused for its size."""


def is_too_large(error: JobledgerError) -> bool:
    """Tell whether a message was refused for its size: by the service, or by gRPC itself, which gives no reason."""
    if isinstance(error, MessageTooLargeError):
        return True
    return error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not error.reason and error.retry_after is None


def is_refusal(error: JobledgerError) -> bool:
    """Tell whether a message was refused for what it says or for its size, so that sending it again is no use."""
    return isinstance(error, InvalidFieldError) or is_too_large(error)


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

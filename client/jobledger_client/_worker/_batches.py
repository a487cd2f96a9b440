"""Batches of messages, limited in number and bytes."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import grpc

from jobledger_client._error_groups import JobledgerError
from jobledger_client._generated._errors import InvalidFieldError, MessageTooLargeError

Item = TypeVar("Item")

MAX_BATCH = 500
MAX_BATCH_BYTES = 1024 * 1024
"""The bytes of one call; a larger single item is sent alone. The server's limit is 4 MiB by default."""

MIN_REPORT_BYTES = 1_024
"""The minimum of the server's limit: it refuses no smaller message for its size."""


def is_too_large(error: JobledgerError) -> bool:
    """Return whether a message was refused for its size: by the service, or by gRPC itself, without a reason."""
    if isinstance(error, MessageTooLargeError):
        return True
    return error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not error.reason and error.retry_after is None


def is_refusal(error: JobledgerError) -> bool:
    """Return whether a message was refused for its content or size, so that repeating it is useless."""
    return isinstance(error, InvalidFieldError) or is_too_large(error)


def batches(
    items: Iterable[Item], size_of: Callable[[Item], int], *, max_bytes: int = MAX_BATCH_BYTES
) -> Iterator[list[Item]]:
    """Yield the items in order, in batches within both limits."""
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

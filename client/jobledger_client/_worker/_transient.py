"""Repeats the calls of workers and engines whose failures pass by themselves."""

import asyncio
from collections.abc import Awaitable, Callable
from logging import Logger
from random import random
from typing import TypeVar

from jobledger_client._error_groups import DeadlineExceededError, InternalError, JobledgerError, UnavailableError
from jobledger_client._generated._errors import QueueFullError, RateLimitedError, TooManyClaimsError
from jobledger_client._retry import Backoff, is_reset

Result = TypeVar("Result")

_TRANSIENT_ERRORS = (
    UnavailableError,
    DeadlineExceededError,
    QueueFullError,
    RateLimitedError,
    TooManyClaimsError,
    InternalError,
)


def is_transient(error: Exception) -> bool:
    """Return whether an error passes by itself, so that a worker repeats the call."""
    return isinstance(error, _TRANSIENT_ERRORS) or (isinstance(error, JobledgerError) and is_reset(error))


async def repeat_transient(
    call: Callable[[], Awaitable[Result]], backoff: Backoff, logger: Logger, failed_task: str
) -> Result:
    """Return the result of `call`, repeated after transient errors; raise any other error.

    The log of each failure says that the client could not do `failed_task`.
    """
    failures = 0
    while True:
        try:
            return await call()
        except JobledgerError as error:
            if not is_transient(error):
                raise
            failures += 1
            wait = backoff.wait(failures, error, random)
            logger.warning("could not %s; next attempt in %.1f s: %s", failed_task, wait, error)
        await asyncio.sleep(wait)

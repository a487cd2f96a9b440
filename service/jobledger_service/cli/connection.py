"""A client of a running server, for commands that ask one."""

from datetime import timedelta

import grpc
from jobledger_client import Backoff, JobClient

CALL_TIMEOUT = timedelta(seconds=10)
"""How long a server has to answer."""


def open_client(
    target: str,
    api_key: str | None,
    credentials: grpc.ChannelCredentials | None,
    *,
    name: str = "",
    timeout: timedelta = CALL_TIMEOUT,
) -> JobClient:
    """Return a client that sends each call once; `name` is that of the server's certificate, unless it is the host's.

    An operator needs to know at once that a server does not answer.
    """
    options = [("grpc.ssl_target_name_override", name)] if name else []
    too_late = Backoff(initial=2 * timeout, max_wait=2 * timeout)
    return JobClient(
        target, api_key=api_key, credentials=credentials, options=options, timeout=timeout, backoff=too_late
    )

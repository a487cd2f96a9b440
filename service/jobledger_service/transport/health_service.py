"""grpc.health.v1: whether this process, and each of its services, serves."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from grpc_health.v1 import health_pb2 as api

from .identity import Caller
from .refusals import ServiceNotFound

_STATUS = api.HealthCheckResponse


class HealthService:
    """Answers probes. A watcher that does not read keeps no state from being set: each looks for itself."""

    def __init__(self, names: Iterable[str]) -> None:
        self._statuses: dict[str, Any] = dict.fromkeys(("", *names), _STATUS.NOT_SERVING)
        self._changed = asyncio.Event()
        self._draining = False

    def show(self, names: Iterable[str], *, serves: bool) -> None:
        """Say whether services serve; once the server drains, none does."""
        status = _STATUS.SERVING if serves and not self._draining else _STATUS.NOT_SERVING
        self._statuses.update(dict.fromkeys(names, status))
        self._changed.set()
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """Say for good that nothing serves any more."""
        self._draining = True
        self.show(list(self._statuses), serves=False)

    async def Check(self, request: api.HealthCheckRequest, caller: Caller) -> api.HealthCheckResponse:  # noqa: ARG002  anybody
        status = self._statuses.get(request.service)
        if status is None:
            raise ServiceNotFound(request.service)
        return _STATUS(status=status)

    async def Watch(self, request: api.HealthCheckRequest, caller: Caller) -> AsyncGenerator[bytes]:  # noqa: ARG002  anybody
        last: int | None = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, _STATUS.SERVICE_UNKNOWN)
            if status != last:
                last = status
                yield _STATUS(status=status).SerializeToString()
            else:
                await changed.wait()

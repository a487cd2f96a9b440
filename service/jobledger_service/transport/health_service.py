"""grpc.health.v1: whether this process and each of its services are serving."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from grpc_health.v1 import health_pb2 as api

from jobledger_service.core.model.errors import ServiceNotFound

from .identity import Caller

_STATUS = api.HealthCheckResponse


class HealthService:
    """Answers probes. A watcher that does not read blocks no update."""

    def __init__(self, names: Iterable[str]) -> None:
        self._statuses: dict[str, Any] = dict.fromkeys(("", *names), _STATUS.NOT_SERVING)
        self._changed = asyncio.Event()
        self._draining = False

    def show(self, names: Iterable[str], *, serves: bool) -> None:
        """Set whether services are serving; none is once the server drains."""
        status = _STATUS.SERVING if serves and not self._draining else _STATUS.NOT_SERVING
        self._statuses.update(dict.fromkeys(names, status))
        self._changed.set()
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """Set everything to NOT_SERVING for good."""
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

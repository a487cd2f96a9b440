"""grpc.health.v1: whether this process and each of its services are serving."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from grpc_health.v1 import health_pb2 as api

from .identity import Caller
from .refusals import ServiceNotFound

_STATUS = api.HealthCheckResponse


class HealthService:
    """Answers probes. A watcher that does not read blocks no update."""

    def __init__(self) -> None:
        self._statuses: dict[str, Any] = {"": _STATUS.NOT_SERVING}
        self._changed = asyncio.Event()
        self._draining = False

    def add(self, names: Iterable[str]) -> None:
        """Add services, which do not serve yet. They need the database: ADR 50."""
        self._statuses.update(dict.fromkeys(names, _STATUS.NOT_SERVING))

    def start(self) -> None:
        """Say that the process, "", and its services serve."""
        self._show(self._statuses, serves=True)

    def show(self, serves: bool) -> None:  # noqa: FBT001  the form that a duty calls
        """Say whether the services serve; the process itself does in any case. Once the server drains, none does."""
        self._show(filter(None, self._statuses), serves=serves)

    def _show(self, names: Iterable[str], *, serves: bool) -> None:
        status = _STATUS.SERVING if serves and not self._draining else _STATUS.NOT_SERVING
        self._statuses |= dict.fromkeys(names, status)
        self._changed.set()
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """Set everything to NOT_SERVING for good."""
        self._draining = True
        self._show(self._statuses, serves=False)

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

"""The server as seen with an API key: the key's permissions, a client, and the watches and reads that pages share."""

import hashlib
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from jobledger_client import AsyncJobClient, JobView, RoleMissingError

from jobledger_console.reads import SharedReads
from jobledger_console.settings import Settings
from jobledger_console.streams import SharedStreams

_CHECK_TIMEOUT: Final = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class Access:
    """What a key may do, as the server says, and the console allows."""

    is_admin: bool
    is_owner_admin: bool
    has_key: bool
    read_only: bool

    @property
    def may_write(self) -> bool:
        """Whether pages show what changes jobs."""
        return not self.read_only

    @property
    def may_administrate(self) -> bool:
        """Whether pages show what changes limits and pauses kinds."""
        return self.is_owner_admin and not self.read_only


class Backend:
    """A connection with one API key, or without."""

    def __init__(self, client: AsyncJobClient, access: Access) -> None:
        self.client = client
        self.access = access
        self.streams = SharedStreams(client)
        self.reads = SharedReads()
        self.sessions = 0

    async def close(self) -> None:
        """End its watches and reads, and its connection."""
        await self.streams.close()
        await self.reads.close()
        await self.client.close()


class Backends:
    """The backends by the digest of their keys: equal keys share one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_digest: dict[bytes, Backend] = {}

    async def open(self, api_key: str) -> Backend:
        """Return the backend of a key, empty for none. Raises the error of a server that does not accept it.

        UnauthenticatedError: the key is wrong, or missing. RoleMissingError: it may not read jobs.
        """
        digest = hashlib.sha256(api_key.encode()).digest()
        await self.close_unused()
        client = self._client(api_key)
        try:
            access = await self._check(client, has_key=bool(api_key))
        except BaseException:
            await client.close()
            raise
        if digest in self._by_digest:
            await client.close()
        return self._by_digest.setdefault(digest, Backend(client, access))

    async def close_unused(self) -> None:
        """Close the backends without sessions."""
        unused = [digest for digest, backend in self._by_digest.items() if not backend.sessions]
        for backend in [self._by_digest.pop(digest) for digest in unused]:
            await backend.close()

    async def close(self) -> None:
        """Close all."""
        while self._by_digest:
            await self._by_digest.popitem()[1].close()

    def _client(self, api_key: str) -> AsyncJobClient:
        settings = self._settings
        # An empty key keeps the client from reading one in the environment.
        return AsyncJobClient(
            settings.target, api_key=api_key, credentials=settings.credentials, timeout=settings.timeout
        )

    async def _check(self, client: AsyncJobClient, *, has_key: bool) -> Access:
        """Find the permissions of the key: an admin may read health, an owner's admin its usage, a caller jobs."""
        await client.list_jobs(page_size=1, view=JobView.STATUS, timeout=_CHECK_TIMEOUT).page()
        is_admin = await _may(client.admin.get_system_health(timeout=_CHECK_TIMEOUT))
        is_owner_admin = is_admin or await _may(client.admin.get_usage(page_size=1, timeout=_CHECK_TIMEOUT).page())
        read_only = self._settings.read_only
        return Access(is_admin=is_admin, is_owner_admin=is_owner_admin, has_key=has_key, read_only=read_only)


async def _may(call: Awaitable[object]) -> bool:
    """Await a call; return whether the key has its role."""
    try:
        await call
    except RoleMissingError:
        return False
    return True

"""What posts deliveries, made for the first one: a server without webhooks starts without HTTP and its certificates."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from jobledger_service.core.kernel import Kernel

from .deliveries import Attempt
from .name_lookups import LOOKUPS_PER_ATTEMPT, NameLookups
from .sealing import SecretCipher

if TYPE_CHECKING:
    from .http_post import HttpPost


class LazyPost:
    """Posts deliveries as HttpPost does."""

    def __init__(self, kernel: Kernel, cipher: SecretCipher) -> None:
        self._kernel = kernel
        self._cipher = cipher

    @cached_property
    def _post(self) -> "HttpPost":
        from .http_post import HttpPost  # noqa: PLC0415  see above

        settings = self._kernel.settings
        lookups = NameLookups(LOOKUPS_PER_ATTEMPT * settings.webhook_concurrency)
        return HttpPost(settings, self._kernel.clock, self._cipher.open, lookups)

    async def __call__(self, url: str, secrets: Sequence[str], message_id: str, body: bytes) -> Attempt:
        """Post a body, signed, and return the outcome; never raises for errors of a receiver or the network."""
        return await self._post(url, secrets, message_id, body)

    async def close(self) -> None:
        """Close the connections, if there were any."""
        if "_post" in self.__dict__:
            await self._post.close()

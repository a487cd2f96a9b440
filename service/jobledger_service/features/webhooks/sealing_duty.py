"""Secrets of webhooks that the first key has not sealed: sealed once, when the server starts."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from msgspec.structs import replace

from jobledger_service.core.kernel import Kernel

from .rules import Secret, Webhook
from .sealing import SecretCipher, UnreadableSecretError
from .store import SqlWebhookStore

log = structlog.get_logger(__name__)

WEBHOOKS_PER_STEP: Final = 100


@dataclass(slots=True)
class WebhookSealing:
    """Walks all webhooks once, in pages; each change is a transaction of its own, so that other commands get a turn."""

    kernel: Kernel
    store: SqlWebhookStore
    cipher: SecretCipher
    _after: str = ""
    _sealed: int = 0
    _unreadable: int = 0

    async def once(self) -> bool:
        """Seal the secrets of a page; return whether there are more."""
        page = await self.kernel.readers.for_server(self.store.all_after, self._after, WEBHOOKS_PER_STEP)
        for webhook in page:
            if not all(self.cipher.is_current(one.value) for one in webhook.secrets):
                await self._seal(webhook)
            self._after = webhook.key
        if len(page) == WEBHOOKS_PER_STEP:
            return True
        self._log_result()
        return False

    async def _seal(self, webhook: Webhook) -> None:
        try:
            change = partial(self.store.change, webhook.key, self._with_sealed_secrets, self.kernel.clock())
            await self.kernel.committer.run_on_writer(change)
        except UnreadableSecretError as error:
            self._unreadable += 1
            named = {"webhook_id": webhook.webhook_id, "owner": webhook.owner}
            log.error("a secret of a webhook cannot be read", **named, why=str(error))  # noqa: TRY400  a sentence says it all
        else:
            self._sealed += 1

    def _with_sealed_secrets(self, webhook: Webhook) -> Webhook:
        return replace(webhook, secrets=tuple(map(self._current, webhook.secrets)))

    def _current(self, secret: Secret) -> Secret:
        if self.cipher.is_current(secret.value):
            return secret
        value = self.cipher.seal(self.cipher.open(secret.value))
        return Secret(value, secret.create_time, secret.expire_time)

    def _log_result(self) -> None:
        if self._sealed or self._unreadable:
            log.info("secrets of webhooks are sealed", sealed=self._sealed, unreadable=self._unreadable)

"""Secrets of webhooks that the first key has not sealed: sealed once, when the server starts."""

from dataclasses import replace as with_value
from functools import partial
from typing import Final

import structlog
from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.kernel import Kernel

from .rules import Webhook
from .sealing import SecretCipher, UnreadableSecretError
from .store import SqlWebhookStore

log = structlog.get_logger(__name__)

WEBHOOKS_PER_STEP: Final = 100


class WebhookSealing(MsgStruct, frozen=True):
    """Walks all webhooks, in pages; each change is a transaction of its own, so that other commands get a turn."""

    kernel: Kernel
    store: SqlWebhookStore
    cipher: SecretCipher

    async def once(self) -> bool:
        """Seal the secrets of all webhooks."""
        sealed = unreadable = 0
        after = ""
        while page := await self.kernel.readers.for_server(self.store.all_after, after, WEBHOOKS_PER_STEP):
            after = page[-1].key
            for webhook in page:
                if not all(self.cipher.is_current(one.value) for one in webhook.secrets):
                    is_sealed = await self._seal(webhook)
                    sealed, unreadable = sealed + is_sealed, unreadable + (not is_sealed)
        if sealed or unreadable:
            log.info("secrets of webhooks are sealed", sealed=sealed, unreadable=unreadable)
        return False

    async def _seal(self, webhook: Webhook) -> bool:
        """Seal the secrets of a webhook; return whether all of them can be read."""
        try:
            change = partial(self.store.change, webhook.key, self._sealed, self.kernel.clock())
            await self.kernel.committer.run_on_writer(change)
        except UnreadableSecretError as error:
            named = {"webhook_id": webhook.webhook_id, "owner": webhook.owner}
            log.error("a secret of a webhook cannot be read", **named, why=str(error))  # noqa: TRY400  a sentence says it all
            return False
        return True

    def _sealed(self, webhook: Webhook) -> Webhook:
        secrets = (with_value(one, value=self.cipher.seal_again(one.value)) for one in webhook.secrets)
        return replace(webhook, secrets=tuple(secrets))

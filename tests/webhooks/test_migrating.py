"""The receiver of docs/migrating.md, which takes events of two systems, takes the deliveries of a real server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser

from tests.support.receiver import Receiver
from tests.webhooks.conftest import TYPES, Hooks

pytestmark = pytest.mark.one_store("a receiver sees deliveries, not the store")

DOCUMENT = Path(__file__).parents[2] / "docs" / "migrating.md"
ENDS = [TYPES.WEBHOOK_EVENT_TYPE_JOB_CREATED, TYPES.WEBHOOK_EVENT_TYPE_JOB_CANCELLED]


def documented(secret: str) -> Callable[[dict[str, str], bytes], dict[str, Any] | None]:
    """Return the function `verified` of the document, with a secret in place of the one there."""
    examples = Document.parse(str(DOCUMENT), CodeBlockParser("python", lambda _: None))
    [source] = [one for example in examples if "def verified(" in (one := str(example.parsed))]
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - what it is for
    names["NEW_SECRET"] = secret
    verified: Callable[[dict[str, str], bytes], dict[str, Any] | None] = names["verified"]
    return verified


async def test_the_receiver_of_a_migration_verifies_what_the_server_sends(hook: Hooks, receiver: Receiver, kind: str):
    verified = documented((await hook.create(receiver, kind, event_types=ENDS)).secret)
    job = await hook.api.create(kind)
    await hook.api.cancel(job.job_id)
    for status, one in zip(("queued", "cancelled"), await receiver.take(2), strict=True):
        headers = dict(one.headers)
        assert verified(headers, one.raw) == {"job_id": job.job_id, "status": status, "progress": 0}
        assert verified(headers, one.raw.replace(job.job_id.encode(), b"another")) is None
        assert verified(headers | {"webhook-timestamp": "1795253520"}, one.raw) is None
        assert documented("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")(headers, one.raw) is None

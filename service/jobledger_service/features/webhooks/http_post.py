"""Posts deliveries: signed as Standard Webhooks defines, to checked addresses, without following redirects."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Final, cast
from urllib.parse import urlsplit

import certifi
import httpcore
import structlog
from standardwebhooks import Webhook

from jobledger_service.core.database.clock import Clock
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.micros import Micros
from jobledger_service.settings import Settings

from .addresses import LOOKUPS_PER_ATTEMPT, NameLookups, RefusedAddressError, UnknownHostError, addresses_of
from .deliveries import OK, DeliveryAttempt
from .sealing import UnreadableSecretError

log = structlog.get_logger(__name__)

MAX_RESPONSE_BYTES: Final = 64 * 1024
"""The bytes of a reply that are read, to reuse its connection; a longer one ends the connection."""
REDIRECTS: Final = range(300, 400)
MAX_ERROR_LENGTH: Final = 200
MAX_RETRY_AFTER_SECONDS: Final = 86_400


class GuardedStream:
    """A connection that may be lost at any moment.

    anyio raises AttributeError for a socket that uvloop has closed. Here such a connection counts as ended, so that the
    failure is the receiver's, and a pooled connection is not used again.
    """

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self.read, self.write, self.aclose = inner.read, inner.write, inner.aclose

    async def start_tls(self, **options: Any) -> "GuardedStream":  # noqa: ANN401  as the stream within has them
        """Start TLS."""
        return GuardedStream(await self._inner.start_tls(**options))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  the form of a stream
        """Return what httpcore asks for: whether it is TLS, and whether it is readable, also at its end."""
        try:
            return self._inner.get_extra_info(info)
        except AttributeError:
            return True if info == "is_readable" else None


class CheckedBackend(httpcore.AnyIOBackend):
    """Resolves a host once, checks every address, and connects to the very addresses that it checked.

    TLS and the header Host still name the host: httpcore takes both from the URL.
    """

    def __init__(self, lookups: NameLookups, *, allow_private: bool) -> None:
        self._lookups = lookups
        self._allow_private = allow_private

    async def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:  # noqa: ANN401  as httpcore passes them
        """Connect to the first address that answers; raises UnknownHostError, RefusedAddressError, ConnectError."""
        *addresses, last = await addresses_of(self._lookups, host, port, allow_private=self._allow_private)
        for address in addresses:
            with suppress(httpcore.ConnectError):
                return _guarded(await super().connect_tcp(address, port, *args, **options))
        return _guarded(await super().connect_tcp(last, port, *args, **options))


def _guarded(stream: httpcore.AsyncNetworkStream) -> httpcore.AsyncNetworkStream:
    return cast("httpcore.AsyncNetworkStream", GuardedStream(stream))


@cache
def _trusted() -> ssl.SSLContext:
    """Return who is trusted."""
    trusted = ssl.create_default_context()
    trusted.load_verify_locations(certifi.where())
    return trusted


class HttpPost:
    """Posts deliveries over pooled connections.

    `unseal` returns the secret of its stored form, or raises UnreadableSecretError.
    """

    def __init__(
        self, settings: Settings, clock: Clock, unseal: Callable[[str], str], lookups: NameLookups | None = None
    ) -> None:
        self._clock = clock
        self._unseal = unseal
        self._timeout = settings.webhook_timeout
        self._schemes = {"https", "http"} if settings.webhook_allow_http else {"https"}
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_trusted(),
            max_connections=settings.webhook_concurrency,
            keepalive_expiry=30,
            network_backend=CheckedBackend(
                lookups or NameLookups(LOOKUPS_PER_ATTEMPT * settings.webhook_concurrency),
                allow_private=settings.webhook_allow_private_networks,
            ),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def __call__(self, url: str, secrets: Sequence[str], message_id: str, body: bytes) -> DeliveryAttempt:
        """Post a body, signed, and return the outcome; never raises for errors of a receiver or the network."""
        begun = self._clock()
        status, retry_after, error = None, 0, ""
        try:
            headers = signed([self._unseal(secret) for secret in secrets], message_id, begun, body)
            status, retry_after = await self._exchange(url, headers, body)
            error = _failure(status)
        except Exception as raised:  # noqa: BLE001  whatever it is, the attempt has failed
            error = self._sentence(raised)
        return DeliveryAttempt(begun, self._clock() - begun, status, error, retry_after)

    async def _exchange(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, int]:
        if urlsplit(url).scheme not in self._schemes:
            raise httpcore.UnsupportedProtocol("http is not allowed here")
        async with (
            asyncio.timeout(self._timeout),
            self._pool.stream("POST", url, headers=list(headers.items()), content=body) as response,
        ):
            read = 0
            async for part in response.aiter_stream():
                read += len(part)
                if read > MAX_RESPONSE_BYTES:
                    break
            delays = [value for name, value in response.headers if name.lower() == b"retry-after"]
            return response.status, retry_after(delays[0], self._clock()) if delays else 0

    def _sentence(self, error: Exception) -> str:
        match error:
            case TimeoutError() | httpcore.TimeoutException():
                return f"there was no answer within {self._timeout:g} s"
            case UnreadableSecretError():
                return f"the service cannot read this webhook's secret: {error}"
            case RefusedAddressError() | UnknownHostError() | httpcore.UnsupportedProtocol():
                return str(error)
            case httpcore.NetworkError() | OSError():
                return f"the connection failed: {error}"[:MAX_ERROR_LENGTH]
            case httpcore.ProtocolError():
                return f"the answer is not one of HTTP: {error}"[:MAX_ERROR_LENGTH]
        log.error("a delivery failed for an internal reason", exc_info=error)
        return "the service failed internally during this attempt"


def signed(secrets: Sequence[str], message_id: str, now: Micros, body: bytes) -> dict[str, str]:
    """Return the headers of a delivery: one signature for each secret, so that secrets can be rotated."""
    moment = datetime.fromtimestamp(now // SECOND, UTC)
    signatures = [Webhook(secret).sign(message_id, moment, body.decode()) for secret in secrets]
    return {
        "content-type": "application/json",
        "user-agent": "jobledger",
        "webhook-id": message_id,
        "webhook-timestamp": str(now // SECOND),
        "webhook-signature": " ".join(signatures),
    }


def _failure(status: int) -> str:
    if status in OK:
        return ""
    return f"answered {status}; redirects are not followed" if status in REDIRECTS else f"answered {status}"


def retry_after(header: bytes, now: Micros) -> int:
    """Return the wait of a Retry-After, in microseconds, at most a day; 0 without one."""
    text = header.decode("latin-1").strip()
    try:
        seconds = int(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - now / SECOND
    except (ValueError, OverflowError):
        return 0
    return round(max(0, min(seconds, MAX_RETRY_AFTER_SECONDS)) * SECOND)

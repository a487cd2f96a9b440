"""What the transport refuses, and why; what the core refuses is in core/model/refusals/errors.py.

CallRefused
├── ApiKeyMissing         the call carries no API key
├── ApiKeyUnknown         the API key is unknown
├── ApiKeyExpired         the key's time has passed
├── ApiKeyRevoked         the key was revoked
├── RoleMissing           the key does not have the role that the call needs
├── CallLimitReached      as much as the operator allows
│   ├── RateLimited       too many calls with one key
│   ├── TooManyWatches    too many open watches of a key, a connection or the server
│   ├── TooManyClaims     too many open claims of a key
│   └── MessageTooLarge   the request has too many bytes
├── InFlightFull          too many calls of the owner are in flight, or too many bytes
├── MalformedRequest      the request is missing, not encoded as its method's, or too long a list
├── RequestTimedOut       the request did not arrive in time
├── ReplyUnsent           the call was carried out, but there is no room for its reply
├── ServiceNotFound       the server has no such service
├── ConnectionNotFound    channelz knows no such server, channel or socket
└── ServerDraining        the server is shutting down
"""

import re
from typing import ClassVar, Final, Self

from .units import MICROS_PER_SECOND

_BOUNDS: Final = {
    "bytes": "this owner's requests in flight have too many bytes",
    "calls": "too many calls of this owner are in flight",
    "unsent": "this owner's replies and messages that are not read have too many bytes",
    "receiving": "this owner's requests wait too long before they are received",
    "public_calls": "this connection has too many calls without a key in flight",
}
IN_FLIGHT_BOUNDS: Final = tuple(_BOUNDS)


class CallRefused(Exception):  # noqa: N818  a refusal is an answer, not a fault
    """A call that the transport refuses; nothing was done for it, except before ReplyUnsent."""

    reason: ClassVar[str]
    """The reason's name, as callers know it: that of the class, unless the class says another."""

    def __init_subclass__(cls) -> None:
        if "reason" not in vars(cls):
            cls.reason = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.metadata = metadata


class ApiKeyMissing(CallRefused):
    """The call carries no API key."""

    def __init__(self) -> None:
        super().__init__("an API key is required: send the metadata `authorization: Bearer jl_…`")


class ApiKeyUnknown(CallRefused):
    """The API key is unknown."""

    def __init__(self) -> None:
        super().__init__("unknown API key: check that it is complete and belongs to this server")


class ApiKeyExpired(CallRefused):
    """The key's time has passed."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the API key {key_id} has expired: ask an admin for another", key_id=key_id)


class ApiKeyRevoked(CallRefused):
    """The key was revoked."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the API key {key_id} was revoked: ask an admin for another", key_id=key_id)


class RoleMissing(CallRefused):
    """The key does not have the role that the call needs."""

    def __init__(self, method: str, role: str, why: str = "") -> None:
        above = {"ADMIN": "", "OWNER_ADMIN": " or ADMIN"}.get(role, ", OWNER_ADMIN or ADMIN")
        super().__init__(f"{method} needs a key with the role {role}{above}{why}", method=method, role=role)

    @classmethod
    def of_others(cls, method: str, field: str, owner: str) -> Self:
        """Return the refusal of a request that names another owner than the key's."""
        return cls(method, "ADMIN", f" for {field}: the key's own owner is {owner!r}")

    @classmethod
    def of_rights(cls, method: str) -> Self:
        """Return the refusal of a request about a key with more rights than the calling one."""
        return cls(method, "ADMIN", " for a key with more rights than the calling one")


class CallLimitReached(CallRefused):
    """A limit is reached; `subject` is whose limit it is, `wait` microseconds until a retry may succeed."""

    def __init__(self, message: str, subject: str, wait: int | None, **metadata: str) -> None:
        super().__init__(message, **metadata)
        self.subject = subject
        self.wait = wait


class RateLimited(CallLimitReached):
    """Too many calls of one kind with one key."""

    def __init__(self, key_id: str, kind: str, rate: str, wait: int) -> None:
        hundredths = -(-wait * 100 // MICROS_PER_SECOND)  # rounded up: a retry in 0.00 s would be refused
        message = f"rate limit of {rate} {kind} calls for one key exceeded: retry in {hundredths / 100:.2f} s"
        super().__init__(message, f"key:{key_id}", wait, kind=kind, limit=rate)


class TooManyWatches(CallLimitReached):
    """As many watches are open as one key, one connection or the server may have."""

    def __init__(self, subject: str, limit: int) -> None:
        message = f"the {subject} has reached its limit of {limit} open watches: close one first"
        super().__init__(message, subject, MICROS_PER_SECOND, limit=str(limit))


class TooManyClaims(CallLimitReached):
    """As many claims are open as one key may have."""

    def __init__(self, subject: str, limit: int) -> None:
        message = f"the {subject} has reached its limit of {limit} open claims: claim more chunks with fewer calls"
        super().__init__(message, subject, MICROS_PER_SECOND, limit=str(limit))


class MessageTooLarge(CallLimitReached):
    """The request is larger than the operator allows."""

    def __init__(self, key_id: str, size: int, limit: int) -> None:
        subject = f"key:{key_id}" if key_id else "method"
        message = f"the request has {size} bytes, more than the limit of {limit}"
        super().__init__(message, subject, None, size=str(size), limit=str(limit))


class InFlightFull(CallRefused):
    """As much of an owner is in flight as may: `bound` is one of IN_FLIGHT_BOUNDS."""

    reason = "QUEUE_FULL"

    def __init__(self, bound: str) -> None:
        super().__init__(f"{_BOUNDS[bound]}: retry after retry_delay", bound=bound)
        self.bound = bound


class MalformedRequest(CallRefused):
    """The request is missing, not encoded as its method's, or has too many entries; `rule` is what `field` breaks."""

    reason = "INVALID_FIELD"

    def __init__(self, rule: str, field: str = "request") -> None:
        super().__init__(f"{field}: {rule}")
        self.rule = rule
        self.field = field


class ReplyUnsent(CallRefused):
    """The call was carried out, but too many bytes of its owner are not read; as if its connection had broken."""

    reason = ""

    def __init__(self) -> None:
        super().__init__("the call was carried out, but this owner's earlier replies are not read: repeat the call")


class RequestTimedOut(CallRefused):
    """The request did not arrive in time."""

    reason = ""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request did not arrive within {seconds:g} s")


class ServiceNotFound(CallRefused):
    """The server has no service of this name."""

    def __init__(self, service: str) -> None:
        super().__init__(f"the server has no service {service[:128]!r}", service=service[:128])


class ConnectionNotFound(CallRefused):
    """The server, channel or socket does not exist, or no longer exists."""

    def __init__(self, why: str) -> None:
        super().__init__(f"no channelz entity has this id: {why}")


class ServerDraining(CallRefused):
    """The server is shutting down."""

    reason = "DRAINING"

    def __init__(self) -> None:
        super().__init__("this server is shutting down: retry on another replica, or later")

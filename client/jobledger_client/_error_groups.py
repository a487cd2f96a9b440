"""The parents of the exceptions of failed calls, and those that no reason has.

Each reason has an exception of its name in `_generated/_errors.py`, below the parent of its code:

JobledgerError
├── NotFoundError            NOT_FOUND
├── AlreadyExistsError       ALREADY_EXISTS
├── PreconditionError        FAILED_PRECONDITION
├── CursorError              OUT_OF_RANGE, and FOREIGN_CURSOR
├── UnauthenticatedError     UNAUTHENTICATED: the service, or a proxy before it, does not accept the key
├── PermissionDeniedError    PERMISSION_DENIED: the key is valid, but not for this call
├── LimitError               RESOURCE_EXHAUSTED, but QUEUE_FULL: a limit that the operator sets
├── UnavailableError         UNAVAILABLE; without a reason: no server answered
├── DeadlineExceededError    the timeout passed; also a TimeoutError
├── ClientClosedError        the client is closed
└── InternalError            INTERNAL: a defect of the service
    └── InvalidReplyError    the reply cannot be read: a defect, or a version that this client does not know
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import grpc


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that breaks its rule: its path, such as `chunks[3].item_count`, and what is wrong with it."""

    field: str
    description: str


class JobledgerError(Exception):
    """The base of all errors, and the error for a reason that this version does not know.

    `message` is for people; match on the class or on `reason`. `code` is the gRPC status code; `reason` is the name in
    error_reason.proto without its prefix, empty when Jobledger did not send the error; `metadata` are the subjects of
    the reason (job_id, state, …); `retry_after` is None when the service named no time; `attempts` counts
    how often the call was sent, 0 if the client held it back.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: Sequence[FieldViolation] = (),
        retry_after: timedelta | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.field_violations = tuple(field_violations)
        self.retry_after = retry_after
        self.attempts = attempts


class ClientClosedError(JobledgerError):
    """The client is closed, was closed during the call, or belongs to the parent of this process."""


class NotFoundError(JobledgerError):
    """The named object does not exist, or belongs to another owner."""


class AlreadyExistsError(JobledgerError):
    """The name is in use with other content."""


class PreconditionError(JobledgerError):
    """The state does not allow the call."""


class CursorError(JobledgerError):
    """A watch cannot resume from this cursor: list again."""

    @property
    def oldest_cursor(self) -> bytes:
        """The oldest cursor that still works; empty when the service did not name it."""
        try:
            return base64.b64decode(self.metadata.get("oldest_cursor", ""), validate=True)
        except binascii.Error:
            return b""


class UnauthenticatedError(JobledgerError):
    """The service, or a proxy before it, does not know the caller."""


class PermissionDeniedError(JobledgerError):
    """The caller is known, but may not make this call."""


class LimitError(JobledgerError):
    """A limit that the operator sets, `metadata["limit"]`, is reached. The call had no effect."""


class UnavailableError(JobledgerError):
    """No server answered, or the server cannot answer now."""


class DeadlineExceededError(JobledgerError, TimeoutError):
    """The timeout passed. A write may have taken effect."""


class InternalError(JobledgerError):
    """A defect of the service."""


class InvalidReplyError(InternalError):
    """The reply is not the expected message. A write has taken effect."""

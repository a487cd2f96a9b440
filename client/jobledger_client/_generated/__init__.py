# Generated from the protos by client/generate_contract.py: edit these, then run `make gen`.
"""What is generated from the contract, and its public names by module."""

from typing import Final

HOMES: Final = {
    "_generated._enums": "AttemptOutcome CancelOutcome ChangeType ChunkState ComponentKind ComponentState EventOrder ExportFormat FailurePolicy HoldReason JobOrder JobState JobView LabelOperator LeaseStatus OnConflict Role StatsStep StopCause SystemStatus UsageDimension WatchMessageType WatchMode WebhookDeliveryState WebhookEventType WebhookState",
    "_generated._errors": "InvalidFieldError JobNotFoundError ChunkNotFoundError JobAlreadyExistsError RequestIdReusedError EtagMismatchError JobNotEndedError JobEndedError NothingToRetryError ChunkNotClaimableError HistoryTrimmedError ForeignCursorError HistoryLostError PageTokenInvalidError QueueFullError DrainingError StoreUnavailableError ApiKeyMissingError ApiKeyUnknownError ApiKeyExpiredError ApiKeyRevokedError RoleMissingError ApiKeyNotFoundError ApiKeyEndedError AuthDisabledError RateLimitedError TooManyWatchesError MessageTooLargeError TooManyClaimsError TooManyReadsError ReadTooLongError WebhookNotFoundError DeliveryNotFoundError TooManyWebhooksError ConnectionNotFoundError ServiceNotFoundError JobUnreadableError UniqueKeyTakenError JobStartedError TooManyPausedKindsError LimitCeilingError TooManyApiKeysError QuotaExceededError",
}

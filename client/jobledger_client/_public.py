"""Where the public names are: a module is imported when the first of its names is asked for."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from jobledger_client._generated import HOMES as GENERATED

PACKAGE: Final = "jobledger_client"
BY_HAND: Final = {
    "_async._admin": "AsyncAdminCalls",
    "_async._backend": "AsyncClock",
    "_async._bulk": "AsyncBulkCalls",
    "_async._client": "AsyncJobClient",
    "_async._engine_task": "AsyncEngineTask",
    "_async._exports": "AsyncExport AsyncExportCalls",
    "_async._imports": "AsyncImportCalls",
    "_async._jobs": "AsyncJobCalls",
    "_async._leases": "AsyncLeaseCalls",
    "_async._limits": "AsyncLimitCalls",
    "_async._pages": "AsyncPages",
    "_async._statistics": "AsyncStatisticsCalls",
    "_async._stream": "AsyncResumingStream",
    "_async._watch": "AsyncWatch",
    "_async._webhooks": "AsyncWebhookCalls",
    "_connection": "ConnectionOptions",
    "_engines._bridge": "CancelBridge TaskToStop",
    "_engines._dispatcher": "Dispatcher",
    "_engines._runner": "EngineRunner",
    "_error_groups": """
        AlreadyExistsError ClientClosedError CursorError DeadlineExceededError FieldViolation InternalError
        InvalidReplyError JobledgerError LimitError NotFoundError PermissionDeniedError PreconditionError
        UnauthenticatedError UnavailableError
    """,
    "_job_changes": "JobChanges",
    "_limits": "Limit LimitScope PausedKind for_each for_kind for_label",
    "_new_jobs": "JobOutcome NewJob",
    "_policies": "ChunkSpec FinalizerSpec RetryPolicy Stage",
    "_requests": "JobFilterFields",
    "_retry": "Backoff",
    "_seen_jobs": "Relist",
    "_sync._admin": "AdminCalls",
    "_sync._backend": "Clock",
    "_sync._bulk": "BulkCalls",
    "_sync._client": "JobClient",
    "_sync._engine_task": "EngineTask",
    "_sync._exports": "Export ExportCalls",
    "_sync._imports": "ImportCalls",
    "_sync._jobs": "JobCalls",
    "_sync._leases": "LeaseCalls",
    "_sync._limits": "LimitCalls",
    "_sync._pages": "Pages",
    "_sync._statistics": "StatisticsCalls",
    "_sync._stream": "ResumingStream",
    "_sync._watch": "Watch",
    "_sync._webhooks": "WebhookCalls",
    "_terminal_states": "TERMINAL_STATES",
    "_worker._context": "ChunkContext StopReason",
    "_worker._handlers": "NotRetryable RetryLater",
    "_worker._worker": "Worker",
}
HOMES: Final = {**BY_HAND, **GENERATED}
"""The public names of each module, which is imported when one of them is asked for: who calls needs no worker."""


def found_when_asked_for(public: dict[str, Any]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return what finds a name that is not in the package's dictionary yet, and what lists all of them."""
    home_of = {name: home for home, names in HOMES.items() for name in names.split()}
    added: set[str] = set()

    def find(name: str) -> Any:  # noqa: ANN401  any public name
        if name not in home_of:
            raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}")
        import_module(f"{PACKAGE}.{home_of[name]}")
        for home in HOMES.keys() - added:
            if f"{PACKAGE}.{home}" in sys.modules:
                added.add(home)
                _add(home, public)
        return public[name]

    return find, lambda: sorted({*public, *home_of})


def _add(home: str, public: dict[str, Any]) -> None:
    """Add the public names of a module that was imported; tracebacks and reprs show them as the package's."""
    for name in HOMES[home].split():
        value = public[name] = getattr(sys.modules[f"{PACKAGE}.{home}"], name)
        if isinstance(value, type):
            value.__module__ = PACKAGE

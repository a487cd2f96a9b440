"""Concurrency limits as values."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from jobledger.v1 import limit_scope_pb2, limit_service_pb2


@dataclass(frozen=True, slots=True)
class LimitScope:
    """What a limit is over; `for_kind`, `for_label` and `for_each` make one.

    A kind; one value of a label; or each value of a label by itself, when `value` is None.
    """

    kind: str = ""
    label: str = ""
    value: str | None = None

    def __str__(self) -> str:
        if self.kind:
            return f"kind {self.kind}"
        return f"each {self.label}" if self.value is None else f"label {self.label}={self.value}"


ScopeLike: TypeAlias = LimitScope | limit_scope_pb2.LimitScope


def for_kind(kind: str) -> LimitScope:
    """Return the scope of all jobs of a kind."""
    return LimitScope(kind=kind)


def for_label(name: str, value: str) -> LimitScope:
    """Return the scope of the jobs with one value of a label that they name in `limited_labels`."""
    return LimitScope(label=name, value=value)


def for_each(label: str) -> LimitScope:
    """Return the scope of each value of a label by itself, as far as the value has no limit of its own."""
    return LimitScope(label=label)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `max_running` jobs of a scope hold a slot, `running` do, and `waiting` jobs wait for one.

    0 pauses the scope. `ceiling` is the number that an operator set, above which the owner's admin cannot go; None
    without one. `inherited` is True for a value of a label that follows the limit for each value. The others
    are why, by whom and when it was set last; `update_time` is None for a limit that an earlier version set.
    """

    scope: LimitScope
    max_running: int
    running: int = 0
    waiting: int = 0
    inherited: bool = False
    reason: str = ""
    set_by: str = ""
    update_time: datetime | None = None
    ceiling: int | None = None


@dataclass(frozen=True, slots=True)
class PausedKind:
    """A kind whose chunks no worker may claim: why, since when, and who said so last, and when."""

    kind: str
    reason: str
    paused_by: str
    pause_time: datetime
    update_time: datetime


def scope(message: limit_scope_pb2.LimitScope) -> LimitScope:
    """Return the scope of a message, such as that of a job's hold."""
    if message.HasField("label"):
        return for_label(message.label.name, message.label.value)
    return LimitScope(kind=message.kind, label=message.each_value_of_label)


def scope_message(value: ScopeLike) -> limit_scope_pb2.LimitScope:
    """Return the message of a scope."""
    if isinstance(value, limit_scope_pb2.LimitScope):
        return value
    if value.value is not None:
        label = limit_scope_pb2.LimitScope.Label(name=value.label, value=value.value)
        return limit_scope_pb2.LimitScope(label=label)
    if value.kind:
        return limit_scope_pb2.LimitScope(kind=value.kind)
    return limit_scope_pb2.LimitScope(each_value_of_label=value.label)


def limit(message: limit_service_pb2.Limit) -> Limit:
    """Return the limit of a message."""
    return Limit(
        scope=scope(message.scope),
        max_running=message.max_running,
        running=message.running,
        waiting=message.waiting,
        inherited=message.inherited,
        reason=message.reason,
        set_by=message.set_by,
        update_time=message.update_time.ToDatetime(tzinfo=UTC) if message.HasField("update_time") else None,
        ceiling=message.ceiling if message.HasField("ceiling") else None,
    )


def limit_message(value: Limit) -> limit_service_pb2.Limit:
    """Return the message of a limit."""
    message = limit_service_pb2.Limit(
        scope=scope_message(value.scope),
        max_running=value.max_running,
        running=value.running,
        waiting=value.waiting,
        inherited=value.inherited,
        reason=value.reason,
        set_by=value.set_by,
        ceiling=value.ceiling,
    )
    if value.update_time is not None:
        message.update_time.FromDatetime(value.update_time)
    return message


def paused_kind(message: limit_service_pb2.PausedKind) -> PausedKind:
    """Return a paused kind as a value."""
    return PausedKind(
        message.kind,
        message.reason,
        message.paused_by,
        message.pause_time.ToDatetime(tzinfo=UTC),
        message.update_time.ToDatetime(tzinfo=UTC),
    )


def paused_kind_message(value: PausedKind) -> limit_service_pb2.PausedKind:
    """Return the message of a paused kind."""
    message = limit_service_pb2.PausedKind(kind=value.kind, reason=value.reason, paused_by=value.paused_by)
    message.pause_time.FromDatetime(value.pause_time)
    message.update_time.FromDatetime(value.update_time)
    return message

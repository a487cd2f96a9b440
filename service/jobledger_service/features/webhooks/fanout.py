"""Records deliveries for each webhook from the ledger, event by event, in order, exactly once; and their bodies."""

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog
from google.protobuf.message import DecodeError
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse as Message
from msgspec import Struct as MsgStruct
from msgspec import field, json

from jobledger_service.core.api import convert
from jobledger_service.core.api.codec import whole
from jobledger_service.core.database.rows.reads import EventRow
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.history.change import Change
from jobledger_service.core.model.job import job_id_of, owner_of, uid_of
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.write.committer import UPKEEP_ROWS

from .deliveries import Delivery, DeliveryAttempt
from .rules import Webhook, WebhookEventType, event_types, reached
from .store import FanoutBatch, SqlWebhookStore

PING: Final = "webhook.ping"

log = structlog.get_logger(__name__)
PAGE_SIZE: Final = 512
OUTPUTS_AT_ONCE: Final = 64
"""The events whose jobs' outputs are read together: at most 4 MiB."""
MAX_DELIVERIES: Final = 1_000
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""The deliveries and their bytes at which a transaction that records them ends, with the event that is reached then."""
GATHER_SECONDS: Final = 0.02
"""Seconds from a commit to its reading, so that the events of several commits are recorded together."""
MAX_UNRECORDED_EVENTS: Final = 5_000
MAX_UNRECORDED_TIME: Final = SECOND
"""The number of events without webhooks that are skipped without a write, and for how long."""
MAX_REMEMBERED_PERCENTS: Final = 10_000
MAX_ERROR_LENGTH: Final = 300


def body(event_type: WebhookEventType, event: Message, percents: Sequence[int], output: bytes | None = None) -> bytes:
    """Return the body of a delivery: JSON in UTF-8. `output` is that of a job that is COMPLETED, encoded."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415  as in core/api/convert.py

    job: dict[str, Any] = MessageToDict(event.job, always_print_fields_with_no_presence=True)
    del job["chunks"]  # it is in view BASIC
    content: dict[str, Any] = {
        "type": event_type.value,
        "timestamp": event.event.commit_time.ToJsonString(),
        "position": event.event.position,
        "cursor": base64.b64encode(event.cursor).decode(),
        "data": job,
    }
    if output is not None:
        job["output"] = convert.struct_content(output)
    if event_type is WebhookEventType.JOB_PROGRESS:
        content["percents"] = list(percents)
    return json.encode(content)


def unreadable(event_type: WebhookEventType, row: EventRow) -> bytes:
    """Return the body of a delivery of an event that cannot be shown: its place, without its job."""
    job_id = job_id_of(row.job_key)
    return json.encode({"type": event_type.value, "position": row.position, "data": {"jobId": job_id}})


def ping(webhook: Webhook, now: Micros) -> bytes:
    """Return the body of a ping."""
    data = {"webhookId": webhook.webhook_id, "owner": webhook.owner}
    return json.encode({"type": PING, "timestamp": convert.timestamp(now).ToJsonString(), "data": data})


def changes_of(event: Message) -> list[Change]:
    """Return the changes of a stored event, as far as its type depends on them."""
    return [
        Change(
            type=convert.CHANGE_TYPES_BY_NUMBER[change.type],
            actor=change.actor,
            from_state=convert.JOB_STATES_BY_NUMBER.get(change.from_state),
            to_state=convert.JOB_STATES_BY_NUMBER.get(change.to_state),
        )
        for change in event.event.changes
    ]


class WebhookFanout(MsgStruct):
    """Reads on from the place that is recorded, and records deliveries and the new place in one transaction.

    Several processes may try: the one that finds the place where it read from has done it. The others leave it to that
    one, and look again at their next interval, whatever they commit meanwhile. `on_recorded` is called when there are
    new deliveries.
    """

    kernel: Kernel
    webhooks: SqlWebhookStore
    on_recorded: Callable[[], None]
    wake_event: asyncio.Event = field(default_factory=asyncio.Event)
    _has_webhooks: bool = False
    _seen: int = 0
    _losses: int = 0
    _written: int = 0
    _percents: OrderedDict[str, tuple[int, float]] = field(default_factory=OrderedDict)

    def on_commit(self, _commit: object) -> None:
        """React to a commit, unless there are no webhooks or another process records."""
        if self._has_webhooks:
            self.wake_event.set()

    def begin_anew(self) -> None:
        """Begin at the recorded place again: the database lost events, and gives their positions again."""
        self._losses += 1
        self._seen = 0
        self._percents.clear()
        self.wake_event.set()

    async def once(self) -> bool:
        """Record the next events; return whether there are more."""
        await asyncio.sleep(GATHER_SECONDS if self._has_webhooks else 0)
        losses = self._losses
        recorded = await self.kernel.readers.for_server(self.webhooks.fanout_position)
        self._has_webhooks = recorded is not None
        if recorded is None:
            return False
        batch, complete = await self.kernel.readers.for_server(self._read, recorded, max(recorded, self._seen))
        if batch.trimmed is not None:
            log.error("history was trimmed before webhooks had read it", first=batch.since + 1, last=batch.trimmed)
        if self._should_write(batch):
            record = partial(self.webhooks.record_batch, batch, self.kernel.clock())
            if not await self.kernel.committer.run_on_writer(record, max(UPKEEP_ROWS, len(batch.deliveries))):
                self._has_webhooks = False
                return False
            self._written = self.kernel.clock()
        if losses != self._losses:
            return True
        self._seen = batch.through
        if batch.deliveries:
            self.on_recorded()
        return not complete

    def _should_write(self, batch: FanoutBatch) -> bool:
        passed = batch.through - batch.since
        if batch.deliveries or batch.trimmed is not None or passed >= MAX_UNRECORDED_EVENTS:
            return True
        return passed > 0 and self.kernel.clock() >= self._written + MAX_UNRECORDED_TIME

    def _read(self, since: int, start: int) -> tuple[FanoutBatch, bool]:
        """Return the events after `start`, which is the place `since` or later, and whether these are all."""
        read = self.kernel.store.events(start, PAGE_SIZE)
        # the webhooks are read after the events: a later webhook does not receive earlier events
        watching: dict[str, list[Webhook]] = {}
        for webhook in self.webhooks.recording({_owner(row) for row in read.rows}):
            watching.setdefault(webhook.owner, []).append(webhook)
        deliveries, size = list[Delivery](), 0
        trimmed = read.trimmed if read.trimmed > start else None
        outputs: dict[str, tuple[bytes, bytes]] = {}
        for place, row in enumerate(read.rows):
            if place % OUTPUTS_AT_ONCE == 0:
                part = read.rows[place : place + OUTPUTS_AT_ONCE]
                outputs = self.webhooks.outputs({event.job_key for event in part if _owner(event) in watching})
            more = self._deliveries_of(row, watching.get(_owner(row), ()), outputs)
            deliveries += more
            size += sum(len(delivery.body) for delivery in more)
            if len(deliveries) >= MAX_DELIVERIES or size >= MAX_BODY_BYTES:
                return FanoutBatch(since, row.position, trimmed, deliveries), False
        return FanoutBatch(since, max(read.through, trimmed or 0), trimmed, deliveries), read.complete

    def _deliveries_of(
        self, row: EventRow, webhooks: Sequence[Webhook], outputs: Mapping[str, tuple[bytes, bytes]]
    ) -> list[Delivery]:
        """Return the deliveries of one event; of one that cannot be read, a dead one for each webhook of its owner."""
        try:
            event = Message.FromString(whole(row))
            changes = changes_of(event)
            uid, output = outputs.get(row.job_key, (b"", None))
            if output is not None and uid != uid_of(event.job.uid):
                output = None  # of a later job with the same id
        except Exception as error:  # noqa: BLE001  whatever is wrong with one event is wrong with it alone
            mine = [webhook for webhook in webhooks if webhook.after < row.position]
            return [self._delivery(row, webhook, 0, webhook.event_types[0], error) for webhook in mine]
        return list(self._each(row, event, changes, webhooks, output))

    def _each(
        self,
        row: EventRow,
        event: Message,
        changes: Sequence[Change],
        webhooks: Sequence[Webhook],
        output: bytes | None,
    ) -> Iterator[Delivery]:
        """Yield the deliveries of one event; equal bodies are made once."""
        job = event.job
        concerned = [
            webhook
            for webhook in webhooks
            if webhook.after < row.position and webhook.concerns(job.owner, job.kind, job.labels)
        ]
        before = self._percent_before(row, job) if any(webhook.progress_percents for webhook in concerned) else 0
        made: dict[tuple[WebhookEventType, tuple[int, ...]], bytes | Exception] = {}
        for webhook in concerned:
            percents = tuple(reached(webhook.progress_percents, before, job.progress.percent))
            for ordinal, event_type in enumerate(event_types(changes, progressed=bool(percents))):
                if event_type in webhook.event_types:
                    what = (event_type, percents if event_type is WebhookEventType.JOB_PROGRESS else ())
                    if what not in made:
                        shown = output if event_type is WebhookEventType.JOB_COMPLETED else None
                        try:
                            made[what] = body(event_type, event, percents, shown)
                        except Exception as error:  # noqa: BLE001  as above
                            made[what] = error
                    yield self._delivery(row, webhook, ordinal, event_type, made[what])

    def _delivery(
        self, row: EventRow, webhook: Webhook, ordinal: int, event_type: WebhookEventType, content: bytes | Exception
    ) -> Delivery:
        """Return a delivery with a body; DEAD from the start for an error, as its stored event cannot be shown."""
        now, error = self.kernel.clock(), content if isinstance(content, Exception) else None
        shown = content if isinstance(content, bytes) else unreadable(event_type, row)
        delivery = Delivery(webhook.key, row.position, ordinal, row.job_key, event_type, now, body=shown)
        if error is None:
            return delivery
        self.kernel.unreadable.add("webhooks", f"the event at position {row.position}", error)
        attempt = DeliveryAttempt(now, 0, None, f"the event cannot be shown: {error}"[:MAX_ERROR_LENGTH])
        return delivery.attempted(attempt, None)

    def _percent_before(self, row: EventRow, job: Job) -> float:
        """Return a job's percent before an event: from memory, else from its last event; 0 when it is not known."""
        revision, percent = self._percents.pop(row.job_key, (0, 0.0))
        if revision != job.revision - 1:
            message = self.webhooks.event_before(row.job_key, row.position)
            percent = 0.0 if message is None or job.revision == 1 else _percent_of(message)
        self._percents[row.job_key] = (job.revision, job.progress.percent)
        if len(self._percents) > MAX_REMEMBERED_PERCENTS:
            self._percents.popitem(last=False)
        return percent


def _percent_of(message: bytes) -> float:
    try:
        return Message.FromString(message).job.progress.percent
    except DecodeError:  # it was reported when its own turn came
        return 0.0


def _owner(row: EventRow) -> str:
    return owner_of(row.job_key)

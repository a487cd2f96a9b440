"""Fills a new database with all that a version keeps: jobs in every state and wait, chunks, leases, history, webhooks,
limits, keys and usage. Two owners have the same of everything."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
from google.protobuf.field_mask_pb2 import FieldMask
from jobledger.v1.admin_service_pb2 import RevokeApiKeyRequest, SetQuotaRequest
from jobledger.v1.bulk_pb2 import CancelJobsRequest
from jobledger.v1.import_service_pb2 import ImportedJob, ImportJobsRequest
from jobledger.v1.import_service_pb2_grpc import ImportServiceStub
from jobledger.v1.job_service_pb2 import CreateJobRequest, ListJobsRequest, WatchMode
from jobledger.v1.webhook_pb2 import WEBHOOK_DELIVERY_STATE_DELIVERED, WebhookEventType
from jobledger.v1.webhook_service_pb2 import CreateWebhookRequest, ListWebhookDeliveriesRequest
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub

from tests.support.keys import ADMIN, CALLER, WORKER, KeyedApi
from tests.support.limits import kind_scope, set_limit
from tests.support.pauses import pause
from tests.support.receiver import Receiver
from tests.support.states import CANCELLED, CANCELLING, COMPLETED, FAILED, QUEUED, RUNNING

OWNERS = ("archive", "studio")
SETTINGS = {
    "auth": "keys",
    "indexed_labels": "user",
    "RECORD_SECONDS": "0.2",
    "webhook_allow_http": "true",
    "webhook_allow_private_networks": "true",
    "INITIAL_BACKOFF_SECONDS": "3600",
}
STATES = {
    "queued": QUEUED, "running": RUNNING, "cancelling": CANCELLING,
    "completed": COMPLETED, "failed": FAILED, "cancelled": CANCELLED,
}  # fmt: skip
LAST = "last"
"""The name of an owner's last job: all other events of the owner are before its creation."""
YEAR, HOUR = timedelta(days=365), timedelta(hours=1)
LEASE = timedelta(seconds=20)
"""Long enough for the rest of the filling; whoever loads the database finds it over."""


class Seen(msgspec.Struct):
    """A message of a watch of all events of an owner."""

    cursor: bytes
    position: int
    job_id: str
    revision: int


class Owned(msgspec.Struct):
    """What an owner was answered: jobs by id as GetJob showed them, cursors, and tokens of each sort."""

    token: str
    jobs: dict[str, bytes] = {}
    seen: list[Seen] = []
    list_cursor: bytes = b""
    page_token: str = ""
    lease_tokens: list[str] = []
    webhook_ids: list[str] = []


class Record(msgspec.Struct):
    """What was answered while the database was filled, by owner; and of which version and commit the server was."""

    version: str
    commit: str
    admin_token: str
    revoked_token: str
    owners: dict[str, Owned]


@asynccontextmanager
async def connected(target: str, token: str) -> AsyncIterator[KeyedApi]:
    """Yield the API of a key's holder, and close its connection."""
    api = KeyedApi(target, token)
    try:
        yield api
    finally:
        await api.channel.close()


async def fill(target: str, admin_token: str, version: str, commit: str) -> Record:
    """Fill the database of a server without jobs, and return what was answered."""
    async with connected(target, admin_token) as admin:
        revoked = await admin.make(CALLER, name="revoked", owner=OWNERS[0])
        await admin.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=revoked.api_key.key_id))
        record = Record(version, commit, admin_token, revoked.token, {})
        for owner in OWNERS:
            token = (await admin.make(CALLER, WORKER, ADMIN, owner=owner)).token
            await admin.admin.SetQuota(SetQuotaRequest(owner=owner, max_unfinished_jobs=10_000, reason="for the test"))
            async with connected(target, token) as api:
                record.owners[owner] = await _fill_owner(api, Owned(token))
    return record


async def _fill_owner(api: KeyedApi, owned: Owned) -> Owned:
    begin = (await api.list_jobs(page_size=1)).cursor
    with Receiver() as receiver:
        owned.webhook_ids = [await _webhook(api, url) for url in (receiver.url, "http://127.0.0.1:1024/")]
        await _ended(api)
        await _changed(api)
        await _waiting(api)
        await _delivered(api, owned.webhook_ids[0])
    await _in_work(api, owned)
    await api.create("clip.last", display_name=LAST)
    await _remember(api, owned, begin)
    return owned


async def _webhook(api: KeyedApi, url: str) -> str:
    types = [number for number in WebhookEventType.values() if number]
    request = CreateWebhookRequest(url=url, event_types=types, kinds=["clip.completed"], description="all of a kind")
    return (await WebhookServiceStub(api.channel).CreateWebhook(request)).webhook.webhook_id


async def _delivered(api: KeyedApi, webhook_id: str) -> None:
    """Wait until a delivery is recorded."""
    request = ListWebhookDeliveriesRequest(webhook_id=webhook_id, states=[WEBHOOK_DELIVERY_STATE_DELIVERED])
    while not (await WebhookServiceStub(api.channel).ListWebhookDeliveries(request)).deliveries:
        pass


async def _ended(api: KeyedApi) -> None:
    """Make jobs that have ended, some with outputs, artifacts, stages, a finalizer and further attempts."""
    for name in ("completed", "failed", "cancelled"):
        for number in range(3):
            labels = {"user": f"u{number}", "shelf": "a b"}
            await api.job_in(STATES[name], f"clip.{name}", item_count=6, chunk_size=2, labels=labels, priority=number)
    job = await api.create(
        "clip.whole", chunks=[{"input": {"part": n}} for n in range(3)], finalizer={}, input={"film": "Möbius"},
        stages=[{"name": "fetch"}, {"name": "encode", "weight": 3}], display_name="the whole film", unique_key="film-1",
    )  # fmt: skip
    again = await api.claim("clip.whole", 1)
    await api.fail(*again, message="the disk was full", retry_delay=timedelta(0))
    artifacts = {"still": {"uri": "s3://films/still.png", "content_type": "image/png", "size_bytes": 7}}
    for held in await api.claim("clip.whole", 3):
        await api.report(held, stage="encode", stage_percent=50, message="half", artifacts=artifacts)
        await api.complete(held, output={"seconds": 12.5}, progress={"job_artifacts": artifacts})
    [last] = await api.claim("clip.whole", 1)
    await api.complete(last, result_uri="s3://films/whole.mp4", job_output={"parts": 3})
    assert (await api.get(job.job_id)).state == COMPLETED
    created = datetime.now(UTC) - YEAR
    times = {"create_time": created, "start_time": created + HOUR, "end_time": created + 2 * HOUR}
    past = ImportedJob(job=CreateJobRequest(job_id="imported-1", kind="clip.old"), state=COMPLETED, **times)
    await ImportServiceStub(api.channel).ImportJobs(iter([ImportJobsRequest(jobs=[past])]))


async def _changed(api: KeyedApi) -> None:
    """Change jobs, retry one, delete one, and cancel many at once."""
    job = await api.create("clip.changed", request_id="req-1", labels={"user": "u1"})
    mask = FieldMask(paths=["priority", "labels"])
    await api.update(job.job_id, update_mask=mask, priority=9, labels={"user": "u2"}, reason="more urgent")
    failed = await api.job_in(FAILED, "clip.retried", item_count=2, chunk_size=1)
    await api.retry(failed.job_id, reason="once more")
    gone = await api.job_in(COMPLETED, "clip.deleted")
    await api.delete(gone.job_id, reason="not needed")
    for _ in range(4):
        await api.create("clip.bulk")
    run = await api.jobs.CancelJobs(CancelJobsRequest(filter={"kinds": ["clip.bulk"]}, reason="all of them"))
    async with api.watch_job(run.job.job_id) as watch:
        await watch.until(lambda message: message.job.state == COMPLETED)


async def _waiting(api: KeyedApi) -> None:
    """Make jobs that wait: for a worker, a slot, a time, a paused kind, and after a failed attempt."""
    await api.create("clip.queued", unique_key="film-2", chunks=[{} for _ in range(5)], run_timeout=YEAR)
    await set_limit(api, kind_scope("clip.limited"), 1)
    for _ in range(3):
        await api.create("clip.limited")
    await api.create("clip.scheduled", schedule_time=datetime.now(UTC) + 300 * timedelta(days=1))
    await pause(api, "clip.paused", reason="the model is wrong")
    await api.create("clip.paused")
    await api.create("clip.backoff", retry_policy={"max_attempts": 5, "initial_backoff": HOUR})
    await api.fail(*await api.claim("clip.backoff"), message="not now")


async def _in_work(api: KeyedApi, owned: Owned) -> None:
    """Make jobs with chunks under leases, and remember the leases."""
    for name in ("running", "cancelling"):
        job = await api.create(f"clip.{name}", item_count=4, chunk_size=1)
        claimed = await api.claim(job.kind, 2, worker="camera-7", lease_duration=LEASE)
        await api.report(claimed[0], percent=40, message="on its way")
        owned.lease_tokens += [held.lease.token for held in claimed]
        if name == "cancelling":
            await api.cancel(job.job_id)


async def _remember(api: KeyedApi, owned: Owned, begin: bytes) -> None:
    """Read all events from the beginning, and all jobs."""
    async with api.watch_jobs(cursor=begin, mode=WatchMode.WATCH_MODE_EVERY, filter=None) as watch:
        for message in await watch.through(lambda message: message.job.display_name == LAST):
            event = message.event
            owned.seen.append(Seen(message.cursor, event.position, message.job.job_id, message.job.revision))
    request = ListJobsRequest(page_size=1_000)
    page = await api.jobs.ListJobs(request)
    assert not page.next_page_token
    owned.jobs = {job.job_id: (await api.get(job.job_id)).SerializeToString() for job in page.jobs}
    request.page_size = 1
    first = await api.jobs.ListJobs(request)
    owned.page_token, owned.list_cursor = first.next_page_token, first.cursor

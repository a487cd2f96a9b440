"""No table grows without bound: each has a named bound, and what is kept only for a time goes."""

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import pytest
from jobledger.v1.admin_service_pb2 import RevokeApiKeyRequest, SetQuotaRequest
from jobledger.v1.bulk_pb2 import CancelJobsRequest
from jobledger.v1.webhook_pb2 import WEBHOOK_EVENT_TYPE_JOB_CREATED
from jobledger.v1.webhook_service_pb2 import CreateWebhookRequest
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub
from jobledger_service.app import FEATURES
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.duty import Duty
from jobledger_service.core.model.bounds.limits import SECOND
from sqlalchemy import func, select

from tests.bulk.runs import ended
from tests.docs.documents import ROOT
from tests.support.api import fresh_kind
from tests.support.keys import ADMIN, CALLER, KeyedApi
from tests.support.limits import each_scope, kind_scope, set_limit
from tests.support.pauses import pause
from tests.support.schemas import metadata
from tests.support.states import COMPLETED, FAILED

from .conftest import Tenants
from .kernels import running_kernel

DAY = 86_400
"""Seconds."""
FORGETTING = {
    "retention",
    "artifact versions",
    "limit retention",
    "key retention",
    "statistics",
    "usage retention",
    "webhook retention",
    "worker retention",
}
LEFT = {
    "ledger": 1,
    "terms": 1,
    "counts": 5,  # those of all owners and kinds together, by state
    "label_indexes": 1,
    "webhook_checkpoint": 1,
    "webhooks": 2,
    "limits": 3,
    "paused_kinds": 2,
    "quotas": 2,
    "api_keys": 6,
}
"""What is left for ever, of two owners: what operators and owners made and did not take away."""


def counted(database: Database) -> dict[str, int]:
    with database.read() as connection:
        return {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in metadata.tables.items()
        }


@pytest.mark.guarantee("3b.2")
def test_each_table_has_a_bound_that_the_documentation_names():
    text = (
        (ROOT / "docs" / "operations" / "retention.md")
        .read_text()
        .split("## What bounds each table")[1]
        .split("\n#")[0]
    )
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.+?) \|", text, re.MULTILINE)
    assert sorted(name for names, _ in rows for name in re.findall(r"\w+", names)) == sorted(metadata.tables)
    assert all(bound for _, bound in rows)


async def leave_rows(tenants: Tenants, owner: str) -> KeyedApi:
    """Have an owner do a bit of everything; return the API."""
    api, kind = await tenants.api(owner), fresh_kind()
    hook = CreateWebhookRequest(url="http://127.0.0.1:1024/", event_types=[WEBHOOK_EVENT_TYPE_JOB_CREATED])
    await WebhookServiceStub(api.channel).CreateWebhook(hook)
    admin = KeyedApi(tenants.server.target, (await tenants.admin.make(ADMIN, owner=owner)).token)
    await set_limit(admin, each_scope("user"), 1)
    await pause(admin, fresh_kind())
    await tenants.admin.admin.SetQuota(SetQuotaRequest(owner=owner, max_stored_jobs=1_000))
    await admin.channel.close()
    await api.create(kind)
    await api.fail(*await api.claim(kind), retry_delay=timedelta(0))
    await api.complete(*await api.claim(kind))
    await api.job_in(FAILED, kind)
    for n in range(2):
        job = await api.create(kind, request_id=f"r{n}", labels={"user": str(n)}, limited_labels=["user"])
        artifacts = {"job_artifacts": {"file": {"uri": "s3://bucket/x"}}}
        await api.complete(*await api.claim(kind), output={"x": n}, job_output={"x": n}, progress=artifacts)
    await api.delete(job.job_id, delete_artifacts=True)
    await api.create(kind, unique_key="one")
    run = await api.jobs.CancelJobs(CancelJobsRequest(filter={"kinds": [kind]}))
    assert (await ended(api, run.job.job_id)).state == COMPLETED
    return api


@asynccontextmanager
async def forgetting(database: Database, clock: list[int]) -> AsyncIterator[list[Duty]]:
    """Yield the duties that forget."""
    retentions = {
        "event_retention": DAY,
        "audit_retention": 2 * DAY,
        "statistics_retention": 3 * DAY,
        "webhook_retention": DAY,
        "usage_retention": 3 * DAY,
    }
    async with running_kernel(database, clock, lambda _: None, **retentions) as kernel:
        features = [feature.open(kernel) for feature in FEATURES]
        yield [duty for feature in features for duty in feature.duties if duty.name in FORGETTING]
    for feature in features:
        if feature.close is not None:
            await feature.close()


async def test_what_is_kept_for_a_time_goes_from_each_table(store: str, tmp_path: Path):
    expiring = {f"{state}_retention": "3600" for state in ("completed", "failed", "cancelled")}
    hooks = {"webhook_allow_http": "true", "webhook_allow_private_networks": "true"}
    tenants = Tenants(store, tmp_path, indexed_labels="user", **expiring, **hooks)
    apis = [await leave_rows(tenants, owner) for owner in ("alice", "bob")]
    gone = await tenants.admin.make(CALLER, owner="bob")
    await tenants.admin.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=gone.api_key.key_id))
    last = await tenants.api("alice")
    await set_limit(tenants.admin, kind_scope("some"), 1)
    assert len({api.token for api in (*apis, last)}) == 3
    await tenants.close()
    with closing(open_database(tenants.server.database)) as database:
        clock = [int(time.time() * SECOND)]
        filled = {name for name, rows in counted(database).items() if rows}
        async with forgetting(database, clock) as duties:
            for days in (2, 10, 10, 10, 10, 10):
                for duty in duties:
                    while await duty.once():
                        pass
                filled |= {name for name, rows in counted(database).items() if rows}
                clock[0] += days * DAY * SECOND
        # a unique key goes in the commit that ends its job, and the server's own duties may trim what deleted jobs
        # left, and delete their artifacts, before the tables are counted
        passing = {"artifact_removals", "deleted_outputs", "deleted_versions"}
        assert filled | passing == set(metadata.tables) - {"unique_keys"}, "each other table had rows"
        assert {name: rows for name, rows in counted(database).items() if rows} == LEFT

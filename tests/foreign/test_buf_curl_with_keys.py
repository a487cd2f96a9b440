"""A foreign client with keys: what producers, fleets and admins are offered, in JSON as `buf curl` has it."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.bounds import BOUND
from tests.support.databases import new_database
from tests.support.foreign import Answer, Refusal, buf_curl
from tests.support.keys import first_key

pytestmark = [pytest.mark.one_store("a foreign client sees messages, not the store"), pytest.mark.slow]

OWNER = "default"
SERVICES = {
    "SetLimit": "Limit", "ListLimits": "Limit", "CreateApiKey": "Admin", "ClaimChunks": "Worker",
    "FailChunks": "Worker", "CompleteChunks": "Worker", "ReleaseChunks": "Worker", "ListWorkers": "Worker",
}  # fmt: skip
"""The service of a method, JobService for all others."""


class Caller:
    """The holder of a key."""

    def __init__(self, target: str, token: str) -> None:
        self.target = target
        self._header = ("--header", f"authorization: Bearer {token}")

    async def __call__(self, method: str, **fields: object) -> dict:
        """Call a method that must succeed, with the fields of its request in JSON, and return its answer."""
        answer = await self._call(method, fields)
        assert answer.code == 0, answer.err
        [message] = answer.messages()
        return message

    async def refused(self, method: str, **fields: object) -> Refusal:
        """Call a method that must be refused."""
        return Refusal.of(await self._call(method, fields))

    async def _call(self, method: str, fields: dict[str, object]) -> Answer:
        service = f"jobledger.v1.{SERVICES.get(method, 'Job')}Service"
        return await buf_curl(self.target, f"{service}/{method}", *self._header, data=fields)


@pytest.fixture
def admin(store: str, tmp_path: Path, start_server: StartServer) -> Caller:
    """Return an admin of a server of its own."""
    database = new_database(store, tmp_path)
    token = first_key(database)
    return Caller(start_server(database, auth="keys", RECORD_SECONDS="0.1").target, token)


def tokens(chunks: list[dict]) -> list[str]:
    return [chunk["lease"]["token"] for chunk in chunks]


async def created_for_later(admin: Caller, limited: dict[str, object], later: str) -> dict:
    """Create a job that begins later: it is checked, created, and found by its key."""
    request = limited | {
        "itemCount": 2, "chunkSize": 1, "uniqueKey": "nightly", "scheduleTime": later, "runTimeout": "3600s",
        "attemptTimeout": "600s",
    }  # fmt: skip
    preview = await admin("CreateJob", **request, validateOnly=True)
    assert preview["created"] is True
    assert "uid" not in preview["job"]
    job = (await admin("CreateJob", **request))["job"]
    assert job["holds"] == preview["job"]["holds"] == [{"reason": "HOLD_REASON_SCHEDULE", "endTime": later}]
    again = await admin("CreateJob", **request)
    assert ("created" in again, again["job"]["uid"]) == (False, job["uid"])
    taken = await admin.refused("CreateJob", **request, onConflict="ON_CONFLICT_REFUSE")
    assert (taken.code, taken.reason) == ("already_exists", "UNIQUE_KEY_TAKEN")
    return job


async def test_it_uses_all_that_producers_and_workers_are_offered(admin: Caller, kind: str):
    made = await admin("CreateApiKey", name="fleet", owner="fleet", roles=["ROLE_WORKER"], servedOwners=[OWNER])
    assert made["apiKey"]["servedOwners"] == [OWNER]
    fleet = Caller(admin.target, made["token"])
    await admin("SetLimit", scope={"eachValueOfLabel": "user"}, maxRunning=1)

    later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    limited = {"kind": kind, "labels": {"user": "ann"}, "limitedLabels": ["user"]}
    job = await created_for_later(admin, limited, later)
    await admin("UpdateJob", jobId=job["jobId"], updateMask="scheduleTime")

    # A fleet claims it, and the same leases again; of a batch one job is refused, and one waits for a slot.
    claim = {"kinds": [kind], "worker": "gpu-1", "version": "7", "host": "rack-1"}
    first = await fleet("ClaimChunks", **claim, maxChunks=2, requestId="one", wait="60s")
    assert [(one["owner"], one["jobId"]) for one in first["chunks"]] == [(OWNER, job["jobId"])] * 2
    assert tokens((await fleet("ClaimChunks", **claim, requestId="one"))["chunks"]) == tokens(first["chunks"])
    batch = (await admin("BatchCreateJobs", requests=[limited, limited | {"priority": 11}]))["results"]
    scope = {"label": {"name": "user", "value": "ann"}}
    assert batch[0]["job"]["holds"] == [{"reason": "HOLD_REASON_LIMIT", "scope": scope}]
    assert (batch[1]["error"]["reason"], batch[1]["error"]["code"]) == ("ERROR_REASON_INVALID_FIELD", 3)
    assert [violation["field"] for violation in batch[1]["error"]["fieldViolations"]] == ["priority"]
    limits = {str(limit["scope"]): limit for limit in (await admin("ListLimits"))["limits"]}
    assert (limits[str(scope)]["running"], limits[str(scope)]["waiting"]) == ("1", "1")

    # An attempt fails and says when to try again, another one is given back, and a third completes with its output.
    held = tokens(first["chunks"])
    failure = {"leaseToken": held[0], "error": {"code": "BUSY"}, "retryDelay": "3600s"}
    other = await admin("CreateJob", kind=kind, jobId="other")
    failed = await fleet("FailChunks", failures=[failure], claim=claim | {"requestId": "two"})
    assert failed["results"][0]["chunkState"] == "CHUNK_STATE_PENDING"
    assert [one["jobId"] for one in failed["claimed"]] == [other["job"]["jobId"]]
    release = {"leaseToken": held[1], "delay": "60s", "reason": "no room"}
    assert "nextAttemptTime" in (await fleet("ReleaseChunks", releases=[release]))["results"][0]
    ending = {"leaseToken": tokens(failed["claimed"])[0], "output": {"part": 1}, "jobOutput": {"score": 0.5}}
    assert (await fleet("CompleteChunks", completions=[ending]))["results"][0]["status"] == "LEASE_STATUS_OK"

    # All of it is shown to the producer, and the fleet sees nothing of that.
    got, listed, trail, ended = await asyncio.gather(
        admin("GetJob", jobId=job["jobId"], view="JOB_VIEW_FULL"),
        admin("ListAttempts", jobId=job["jobId"]),
        admin("ListEvents", jobId=job["jobId"], uid=job["uid"]),
        admin("GetJob", jobId="other", view="JOB_VIEW_FULL"),
    )
    assert [chunk["holds"] for chunk in got["job"]["chunks"]] == [["HOLD_REASON_BACKOFF"]] * 2
    assert {"uniqueKey": "nightly", "runTimeout": "3600s", "attemptTimeout": "600s"}.items() <= got["job"].items()
    attempts = listed["attempts"]
    assert [one["outcome"].removeprefix("ATTEMPT_OUTCOME_") for one in attempts] == ["FAILED", "RELEASED"]
    assert {one["worker"] for one in attempts} == {"gpu-1"}
    assert sorted(got["job"]["attempts"], key=str) == sorted(attempts, key=str)
    assert (ended["job"]["output"], ended["job"]["chunks"][0]["output"]) == ({"score": 0.5}, {"part": 1})
    assert {event["uid"] for event in trail["events"]} == {job["uid"]}
    changes = [change for event in trail["events"] for change in event["changes"]]
    assert [one["reason"] for one in changes if one["type"] == "CHANGE_TYPE_CHUNK_RELEASED"] == ["no room"]
    async with asyncio.timeout(BOUND):
        while not (workers := (await admin("ListWorkers")).get("workers")):
            pass
    [worker] = workers
    assert {"worker": "gpu-1", "version": "7", "host": "rack-1", "owners": [OWNER]}.items() <= worker.items()

    # What cannot be is refused with the reason and the field.
    refusals = await asyncio.gather(
        fleet.refused("GetJob", jobId="other"),
        admin.refused("RetryJob", jobId=job["jobId"], chunkIndexes=[0]),
        admin.refused("UpdateJob", jobId=job["jobId"], updateMask="scheduleTime", scheduleTime=later),
        fleet.refused("CompleteChunks", completions=[ending], claim=claim | {"wait": "1s"}),
        fleet.refused("ClaimChunks", **claim, owners=["bob"]),
        fleet.refused("ClaimChunks", worker="gpu-1"),
    )
    assert [(one.code, one.reason, *one.fields) for one in refusals] == [
        ("permission_denied", "ROLE_MISSING"),
        ("failed_precondition", "NOTHING_TO_RETRY"),
        ("failed_precondition", "JOB_STARTED"),
        ("invalid_argument", "INVALID_FIELD", "claim.wait"),
        ("invalid_argument", "INVALID_FIELD", "owners[0]"),
        ("invalid_argument", "INVALID_FIELD", "kinds"),
    ]

"""Long runs of some owners keep no other owner's run from its steps."""

from pathlib import Path

import pytest
from jobledger.v1.bulk_pb2 import UpdateJobsRequest
from jobledger_service.core.duties.service_jobs import turns_that_end
from jobledger_service.core.kernel import Turn

from tests.bulk.runs import create_many, ended
from tests.isolation.conftest import Tenants
from tests.support.api import Api, fresh_kind
from tests.support.states import COMPLETED, RUNNING


async def begin_run(api: Api, kind: str, priority: int) -> str:
    """Begin a run that changes the priority of all jobs of a kind, and return it."""
    request = UpdateJobsRequest(filter={"kinds": [kind]}, update_mask={"paths": ["priority"]}, priority=priority)
    return (await api.jobs.UpdateJobs(request)).job.job_id


@pytest.mark.guarantee("3b.3")
@pytest.mark.long  # sixteen runs of many jobs
async def test_a_run_of_another_owner_takes_its_turn_while_four_owners_have_all_places(store: str, tmp_path: Path):
    tenants, kind = Tenants(store, tmp_path, bulk_rate="20"), fresh_kind()
    runs: list[tuple[Api, str]] = []
    for owner in ("alice", "bob", "carol", "dave"):
        api = await tenants.api(owner)
        await create_many(api, kind, 60)
        runs += [(api, await begin_run(api, kind, priority)) for priority in (1, 2, 3, 4)]
    last = await tenants.api("erin")
    await create_many(last, kind, 3)
    assert (await ended(last, await begin_run(last, kind, 1))).state == COMPLETED
    states = [(await api.get(job_id)).state for api, job_id in runs]
    assert COMPLETED not in states
    assert states.count(RUNNING) > 4, "one that gave way has begun"
    for api, job_id in runs:
        await api.cancel(job_id)
    await tenants.close()


def test_the_oldest_turns_of_the_owners_with_most_end_first_and_no_more_than_are_waited_for():
    turns = [Turn((owner, "k")) for owner in ("alice", "alice", "bob", "bob", "bob", "carol")]
    assert turns_that_end(turns, 1) == [turns[2]]
    assert turns_that_end(turns, 3) == [turns[2], turns[0], turns[3]]
    turns[4].is_over = True
    assert turns_that_end(turns, 1) == []
    assert turns_that_end(turns, 2) == [turns[0]]
    assert len(turns_that_end(turns, 100)) == 5

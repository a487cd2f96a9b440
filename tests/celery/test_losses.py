"""Workers that die and a broker that loses everything: the ledger stays the truth."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from jobledger_client import JobClient, RetryPolicy

from tests.celery.conftest import Broker, Plant, broker_of_its_own, kill_all
from tests.celery.test_tasks import begun, ended, failures
from tests.support.bounds import CALL_TIMEOUT
from tests.support.server import Server
from tests.support.states import COMPLETED, summary

pytestmark = [
    pytest.mark.long,  # workers and brokers are killed
    pytest.mark.one_store("Celery's workers see messages, not the store"),
]

SOON = RetryPolicy(initial_backoff=timedelta(milliseconds=50))


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    """Return a broker that a test may kill."""
    with broker_of_its_own() as one:
        yield one


@pytest.fixture
def own_plant(own_broker: Broker, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Return workers that a test may kill."""
    with ExitStack() as stack:
        yield Plant(stack, own_broker, server.target, tmp_path_factory.mktemp("losses"))


def test_a_chunk_whose_worker_died_does_not_stay_processing(own_plant: Plant, caller: JobClient):
    own_plant.dispatcher()
    own_plant.environment["TEST_LEASE"] = "5"
    doomed = own_plant.worker("doomed", concurrency=1)
    job_id = caller.create_job("celery.gated", item_count=2, chunk_size=1, retry_policy=SOON).job.job_id
    begun(caller, job_id)
    kill_all(doomed)  # with its child, and with the message that it had fetched ahead
    own_plant.say(job_id, "go")
    own_plant.environment["TEST_LEASE"] = "60"  # which it keeps, whatever stalls
    own_plant.worker("heir", concurrency=1)
    job = ended(caller, job_id)
    assert (job.state, [chunk.attempt for chunk in job.chunks]) == (COMPLETED, [2, 1])
    assert [own_plant.notes(job_id, index) for index in (0, 1)] == [["began", "began", "ended"], ["began", "ended"]]
    [reported] = failures(caller, job_id)
    assert "lease" in reported


def test_a_broker_that_loses_everything(own_plant: Plant, own_broker: Broker, caller: JobClient):
    own_plant.dispatcher()
    own_plant.worker("patient", concurrency=1)
    job_id = caller.create_job("celery.gated", item_count=3, chunk_size=1, retry_policy=SOON).job.job_id
    begun(caller, job_id)
    own_broker.kill()
    own_plant.say(job_id, "go")
    with caller.watch(job_id, timeout=CALL_TIMEOUT) as messages:
        assert any(message.job.chunks_summary.completed == 1 for message in messages), "it needs no broker to report"
    own_broker.start()
    job = ended(caller, job_id)
    assert (job.state, summary(job)) == (COMPLETED, {"total": 3, "completed": 3})
    assert [own_plant.notes(job_id, index) for index in range(3)] == [["began", "ended"]] * 3
    assert failures(caller, job_id) == []

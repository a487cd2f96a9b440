"""A server with keys, and two owners who hold some: what the machine runs on, in a test and under `make fuzz`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from jobledger.v1.admin_service_pb2 import CreateApiKeyRequest
from jobledger.v1.admin_service_pb2_grpc import AdminServiceStub

from tests.fuzz.callers import Owner
from tests.fuzz.campaign import SETTINGS
from tests.fuzz.machine import FLEET, OWNERS, LedgerMachine
from tests.support.databases import new_database
from tests.support.keys import CALLER, WORKER, first_key
from tests.support.server import Server


@contextmanager
def two_owners(store: str, directory: Path) -> Iterator[dict[str, Owner]]:
    """Return the services as each owner calls them; the server must not have logged a defect in the end."""
    database = new_database(store, directory)
    token = first_key(database)
    server = Server(database, directory, SETTINGS).start()
    try:
        with grpc.insecure_channel(server.target) as channel:
            metadata = (("authorization", f"Bearer {token}"),)
            requests = [CreateApiKeyRequest(owner=owner, roles=[CALLER, WORKER]) for owner in OWNERS]
            requests.append(CreateApiKeyRequest(owner=FLEET, roles=[WORKER], served_owners=OWNERS))
            keys = {}
            for request in requests:
                request.name = request.owner
                keys[request.owner] = AdminServiceStub(channel).CreateApiKey(request, metadata=metadata).token
            yield {owner: Owner.of(channel, key) for owner, key in keys.items()}
        assert server.stop() == 0
        assert server.defects() == []
    finally:
        server.kill()


def drive(callers: dict[str, Owner], number: int, examples: int, steps: int, *, shrinks: bool = True) -> None:
    """Run the machine: so many lives of a ledger, of so many steps each, drawn from a seed.

    Raises AssertionError at the first difference, with the fewest steps that lead to one if it `shrinks` them.
    """

    @seed(number)
    def machine() -> LedgerMachine:
        return LedgerMachine(callers)

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    bounds = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
        suppress_health_check=checks,
    )
    run_state_machine_as_test(machine, settings=bounds)

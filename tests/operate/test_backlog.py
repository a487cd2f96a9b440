"""Health and metrics tell of the jobs that there are, and of webhook deliveries: those made, and those that wait."""

from collections.abc import Callable

from jobledger.v1.admin_service_pb2_grpc import AdminServiceStub
from jobledger.v1.system_health_pb2 import SYSTEM_STATUS_DEGRADED, SYSTEM_STATUS_UNHEALTHY, GetSystemHealthRequest

from tests.operate.conftest import Start, scrape
from tests.support.api import Api
from tests.support.receiver import Receiver
from tests.support.server import Server
from tests.webhooks.conftest import CREATED, DELIVERED, LOCAL, Hooks

Connect = Callable[[Server], Api]
OUTCOMES = "jobledger_webhook_attempts_total"


async def test_deliveries_and_jobs_are_in_health_and_metrics(start_sqlite: Start, connect: Connect, kind: str):
    slow_again = LOCAL | {"INITIAL_BACKOFF_SECONDS": "3600", "MEASURE_SECONDS": "0.05", "health_webhook_age": "0.001"}
    server = start_sqlite(metrics_listen="127.0.0.1:0", **slow_again)
    hook = Hooks(connect(server))
    health = AdminServiceStub(hook.api.channel)
    with Receiver() as receiver:
        created = await hook.create(receiver, kind, event_types=CREATED)
        receiver.fail(times=1)
        for _ in range(2):
            await hook.api.create(kind)
            await receiver.next()
        await hook.settled(created.webhook.webhook_id, DELIVERED)
        found = (await health.GetSystemHealth(GetSystemHealthRequest())).health
        while found.status == SYSTEM_STATUS_UNHEALTHY:  # a machine so slow that the database did not answer in time
            found = (await health.GetSystemHealth(GetSystemHealthRequest())).health
    assert found.webhooks.pending == 1
    assert found.webhooks.HasField("oldest_age")
    assert (found.status, found.webhooks.dead) == (SYSTEM_STATUS_DEGRADED, 0)
    assert "a webhook delivery has waited" in found.reasons[0]
    while (shown := scrape(server)).value(OUTCOMES) < 2:
        pass  # an attempt is counted after its answer
    assert (shown.value(OUTCOMES, outcome="delivered"), shown.value(OUTCOMES, outcome="failed")) == (1, 1)
    assert shown.value("jobledger_webhook_deliveries_pending") == 1
    assert shown.value("jobledger_webhook_oldest_pending_seconds") >= 0
    assert shown.value("jobledger_jobs", state="QUEUED") == 2
    assert shown.value("jobledger_jobs", state="FAILED") == 0

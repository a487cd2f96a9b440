"""Whatever anybody sends to any method: no defect, nothing of others in an answer, and others go on as if alone."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from tests.fuzz.campaign import SETTINGS, Campaign, shown, until, wrong_line
from tests.fuzz.hostile import ENOUGH
from tests.fuzz.methods import served
from tests.support.databases import new_database
from tests.support.server import Server

CALLS = 1_200
SEED = 1
SERVICES = [
    "google.longrunning.Operations", "grpc.channelz.v1.Channelz", "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
    "jobledger.v1.AdminService", "jobledger.v1.ImportService",
    "jobledger.v1.JobService", "jobledger.v1.LimitService", "jobledger.v1.WebhookService", "jobledger.v1.WorkerService",
]  # fmt: skip


@pytest.mark.guarantee("3b.1")
@pytest.mark.long
async def test_whatever_is_sent_to_any_method_harms_nobody(store: str, tmp_path: Path):
    campaign = Campaign(store, tmp_path, SEED)
    await campaign.run(until(CALLS))
    assert not campaign.findings, shown(list(campaign.findings.values()))
    assert campaign.calls >= max(CALLS, ENOUGH * len(campaign.targets)), "else methods may be left out unnoticed"
    assert campaign.rounds > 0
    assert answered(campaign) >= CALLS // 10  # else nothing but the refusals was tested


def answered(campaign: Campaign) -> int:
    """Return how many of the requests were accepted."""
    return sum(count for one in campaign.hostiles for (_, code), count in one.outcomes.items() if code == "OK")


def test_no_method_of_any_service_is_left_out(tmp_path: Path):
    server = Server(new_database("sqlite", tmp_path), tmp_path, SETTINGS | {"auth": "none"}).start()
    try:
        sent_to = {target.descriptor.full_name for target in served(server.target)}
    finally:
        server.kill()
    pool = descriptor_pool.Default()
    assert sent_to == {method.full_name for name in SERVICES for method in pool.FindServiceByName(name).methods}


def test_the_contract_has_no_service_that_the_server_does_not_list():
    protos = Path(__file__).parents[2] / "protos" / "jobledger" / "v1"
    services = {
        f"jobledger.v1.{line.split()[1]}"
        for file in protos.glob("*.proto")
        for line in file.read_text().splitlines()
        if line.startswith("service ")
    }
    assert services == {name for name in SERVICES if name.startswith("jobledger.v1.")}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ('{"level": "info", "event": "refused"}', False),
        ('{"level": "error", "event": "failed"}', True),
        ('{"level": "warning", "event": "x", "exception": "Traceback (most recent call last)"}', True),
        ("Traceback (most recent call last):", True),
    ],
)
def test_a_log_that_reports_a_defect_is_a_finding(line: str, wrong: bool):
    assert bool(wrong_line(line)) is wrong

"""The log names each call that it tells of, and no secret."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from jobledger.v1.job_service_pb2 import CreateJobRequest, GetJobRequest
from sqlalchemy import make_url

from tests.conftest import QUICK
from tests.operate.conftest import Start, lines
from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.databases import new_database
from tests.support.errors import refused
from tests.support.server import Server, run_command

Connect = Callable[[Server], Api]
SECRETS = ("jl_token_that_nobody_must_see", "password_that_nobody_must_see")
HEADERS = (("authorization", f"Bearer {SECRETS[0]}"), ("x-request-id", "r-1"))


@pytest.fixture
def server_with_password(tmp_path: Path) -> Iterator[Server]:
    """Return a server whose database has a password; SQLite has none, and the tests' PostgreSQL takes any."""
    database = make_url(new_database("postgresql", tmp_path)).set(password=SECRETS[1])
    settings = QUICK | {"log_level": "debug", "access_log": "1"}
    server = Server(database.render_as_string(hide_password=False), tmp_path, settings).start()
    yield server
    server.kill()


async def test_no_secret_is_logged_at_any_level(server_with_password: Server, connect: Connect, kind: str):
    server = server_with_password
    api = connect(server)
    job = (await api.jobs.CreateJob(CreateJobRequest(kind=kind), metadata=HEADERS)).job
    with pytest.raises(grpc.aio.AioRpcError):
        await api.jobs.GetJob(GetJobRequest(job_id="nowhere"), metadata=HEADERS)
    with pytest.raises(grpc.aio.AioRpcError):
        await api.jobs.CreateJob(CreateJobRequest(kind="not a kind"), metadata=HEADERS)
    assert server.stop() == 0
    [created] = lines(server, "served")
    assert created["method"] == "CreateJob"
    assert created["code"] == "OK"
    assert created["request_id"] == "r-1"
    assert created["job_id"] == job.job_id
    assert created["level"] == "info"
    assert 0 < float(created["seconds"]) < BOUND
    assert [line["request_id"] for line in lines(server, "refused")] == ["r-1", "r-1"]
    assert [secret for secret in SECRETS if secret in server.log.read_text()] == []


def test_a_database_that_cannot_be_reached_is_named_without_its_password(tmp_path: Path):
    database = f"postgresql+psycopg://me:{SECRETS[1]}@127.0.0.1:1/none?password={SECRETS[1]}"
    ended = run_command(tmp_path, "serve", "--database", database, "--log-level", "debug")
    assert ended.returncode == 69
    assert SECRETS[1] not in ended.stdout + ended.stderr


PRETTY = """
import logging
from jobledger_service.cli import logs
logs.set_up("debug", "pretty")
def fails(authorization):
    raise RuntimeError("no")
try:
    fails("Bearer " + "_".join(["jl", "token"]))
except RuntimeError:
    logging.getLogger("test").exception("it fails")
"""


def test_tracebacks_on_a_terminal_show_no_values():
    ended = subprocess.run([sys.executable, "-c", PRETTY], capture_output=True, text=True, timeout=BOUND, check=True)
    assert "RuntimeError: no" in ended.stderr
    assert "jl_token" not in ended.stderr


async def test_a_line_is_short_whatever_was_asked_for(server: Server, api: Api):
    for job_id in ("x" * 100_000, "漢" * 3_000):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "job_id"):
            await api.get(job_id)
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await api.jobs.GetJob(GetJobRequest(job_id="nowhere"), metadata=[("x-request-id", "r" * 5_000)])
    assert [len(line["request_id"]) for line in lines(server, "refused") if "rrr" in line["request_id"]] == [128]
    assert max(map(len, server.log.read_text().splitlines())) < 10_000


def test_at_debug_libraries_reveal_nothing_of_their_requests():
    program = """
import logging
from jobledger_service.cli import logs
logs.set_up("debug", "json")
for name in ("jobledger_service.transport.call", "botocore.auth", "httpcore.http11"):
    logging.getLogger(name).debug("of %s", name)
logging.getLogger("botocore.credentials").info("found")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [json.loads(line)["event"] for line in ended.stderr.splitlines()] == [
        "of jobledger_service.transport.call",
        "found",
    ]


async def test_nothing_that_went_well_is_logged_by_default(server: Server, api: Api, kind: str):
    await api.create(kind)
    assert lines(server, "served") == []


async def test_a_share_of_the_calls_is_logged(start_sqlite: Start, connect: Connect, kind: str):
    server = start_sqlite(access_log="0.5")
    api = connect(server)
    job = await api.create(kind)
    for _ in range(200):
        await api.get(job.job_id)
    assert server.stop() == 0
    # Less than once in 10^12 does a fair coin fall outside.
    assert 50 < len(lines(server, "served")) < 150
    assert json.loads(server.log.read_text().splitlines()[-1])["event"] == "stopped"

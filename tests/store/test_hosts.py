"""A host that takes connections and answers nothing is tried last from then on."""

import socket
from pathlib import Path

import psycopg
import pytest
from jobledger_service.core.database.history import History
from jobledger_service.core.database.postgres.connections import BoundedConnection, Hosts
from jobledger_service.core.database.postgres.dialect import Postgres
from sqlalchemy import make_url

from tests.support.databases import new_database


def connect(host: dict[str, object]) -> BoundedConnection:
    return BoundedConnection.connect(**host, connect_timeout=2)  # type: ignore[arg-type]


def attempts_at(listener: socket.socket) -> int:
    """Count the connections that wait to be accepted."""
    listener.settimeout(0)
    count = 0
    try:
        while True:
            listener.accept()[0].close()
            count += 1
    except BlockingIOError:
        return count


@pytest.mark.guarantee("3d.3")
def test_a_host_that_did_not_answer_is_tried_last_and_the_error_names_what_each_host_said(tmp_path: Path):
    url = make_url(new_database("postgresql", tmp_path))
    answering = {"host": url.query["host"], "port": url.query["port"]}
    hosts = Hosts(History(Postgres("tests").start))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        parameters = {
            "host": f"127.0.0.1,{answering['host']}",
            "port": f"{port},{answering['port']}",
            "user": "postgres",
            "dbname": url.database,
        }
        for _ in range(3):
            with hosts.connect(connect, parameters) as connection:
                assert connection.info.host == answering["host"]
        assert attempts_at(silent) == 1
        with pytest.raises(psycopg.OperationalError) as refused:
            hosts.connect(connect, parameters | {"dbname": "nothing_here"})
    answer, silence = str(refused.value).split("; ")
    assert 'database "nothing_here" does not exist' in answer
    assert silence == f"127.0.0.1:{port}: connection timeout expired"

"""The engines of a PostgreSQL database: one connection that writes, some that read, reopened when they are lost."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import PoolProxiedConnection

from jobledger_service import VERSION
from jobledger_service.core.database.cells import read_json
from jobledger_service.core.database.engines import READ_CONNECTIONS, Database, Engines, Pooling
from jobledger_service.core.database.history import History
from jobledger_service.core.database.time_limits import CLIENT_GRACE_SECONDS, TimeLimits

from .connections import BoundedConnection, Hosts, bounded, limits_of, probes_of, setting
from .dialect import CHANNEL, Postgres

_PLANNER: Final = {
    # every read has an index, and the planner's estimates are unreliable for small tables
    "enable_seqscan": "off",
    # a page of jobs is not worth a compilation or parallel workers
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}


def open_postgres(url: URL, limits: TimeLimits, pooling: Pooling) -> Database:
    """Return a database on PostgreSQL; its connections are opened when they are needed."""
    name = uuid4().hex
    dialect = Postgres(name)
    history = History(dialect.start)
    hosts = Hosts(history)
    url = url.update_query_dict({"application_name": f"{CHANNEL}/{VERSION}/{name}"})
    # one connection writes, as there is one writer thread
    writer = _postgres_engine(url, limits, hosts, pooling, 1)
    reader = _postgres_reader(url, limits.for_reads(limits.read), hosts, pooling, READ_CONNECTIONS)
    exporter = _postgres_reader(url, limits.for_reads(limits.export), hosts, pooling, 1)
    return Database(dialect, Engines(writer, reader, exporter), limits, lambda: None, history, pooling=pooling)


def _postgres_engine(
    url: URL,
    limits: TimeLimits,
    hosts: Hosts,
    pooling: Pooling,
    connections: int,
    planner: Mapping[str, str] = {},
) -> Engine:
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=limits.connect,
        json_deserializer=read_json,
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, args: list[Any], kwargs: dict[str, Any]) -> BoundedConnection:
        connection = hosts.connect(lambda host: BoundedConnection.connect(*args, **bounded(host, limits)), kwargs)
        connection.answer_timeout = None if limits.statement is None else limits.statement + CLIENT_GRACE_SECONDS
        if pooling.by_transaction:
            connection.prepare_threshold = None
        return connection

    values, options = {**limits_of(limits), **planner}, str(url.query.get("options", ""))
    for_session = setting({**values, **probes_of(limits)}, options, for_transaction=False)
    for_transaction = setting(values, options, for_transaction=True)

    @event.listens_for(engine, "connect")
    def connected(connection: BoundedConnection, record: Any) -> None:  # noqa: ANN401  SQLAlchemy's
        record.info["deadline"] = connection.deadline
        if not pooling.by_transaction:
            connection.execute(for_session)
            connection.commit()

    def begin_transaction(connection: PoolProxiedConnection) -> None:
        connection.cursor().execute(for_transaction)

    if pooling.by_transaction:
        # what is set for a session would be set for whoever gets its connection next
        engine.dialect.do_begin = begin_transaction  # type: ignore[method-assign, assignment]
    return engine


def _postgres_reader(url: URL, limits: TimeLimits, hosts: Hosts, pooling: Pooling, connections: int) -> Engine:
    engine = _postgres_engine(url, limits, hosts, pooling, connections, _PLANNER)
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

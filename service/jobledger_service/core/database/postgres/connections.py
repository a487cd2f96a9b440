"""Connections to PostgreSQL: bounded waits, at the server and at the client, and how arrays are sent."""

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.adapt import Dumper
from psycopg.pq import Format, TransactionStatus

from jobledger_service.core.database.history import History, StaleDatabaseError
from jobledger_service.core.database.time_limits import CLIENT_GRACE_SECONDS, Deadline, TimeLimits

from .arrays import ARRAYS, Array

Answer = TypeVar("Answer")

_DEADLINE_MESSAGE: Final = "the transaction was not over at its deadline"
KEEPALIVES: Final = 3
"""The number of probes that may go unanswered."""


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        try:
            return obj.encoded()
        except struct.error as error:
            raise errors.DataError(str(error)) from None


for _array in ARRAYS.values():
    psycopg.adapters.register_dumper(_array, type(_array.__name__, (_ArrayDumper,), {"oid": _array.oid}))


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that closes itself when the database has not answered in time.

    The database itself ends a slow statement. An unreachable database does not, and a network that loses packets
    reports nothing.
    """

    answer_timeout: float | None = None
    """Seconds for one answer; set when the connection is opened."""
    on_silence: Callable[[], object] = staticmethod(lambda: None)
    """Called when the database has not answered in time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  the driver's
        super().__init__(*args, **kwargs)
        self.deadline = Deadline()

    def wait(self, gen: PQGen[Answer], interval: float = 0.1, timeout: float | None = None) -> Answer:
        """Wait for an answer; raises OperationalError without one, QueryCanceled at the deadline."""
        try:
            return self._wait(gen, interval, timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()  # what was sent was not answered: nothing else can be sent
            raise

    def _wait(self, gen: PQGen[Answer], interval: float, timeout: float | None) -> Answer:
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        if self.deadline.is_over:
            raise errors.QueryCanceled(_DEADLINE_MESSAGE)
        remaining = self.deadline.remaining + CLIENT_GRACE_SECONDS
        bound = remaining if self.answer_timeout is None else min(remaining, self.answer_timeout)
        if bound == inf:
            return super().wait(gen, interval)
        try:
            return super().wait(gen, interval, bound)
        except errors._WaitTimeout:  # noqa: SLF001  what the driver's `wait` says that it raises
            pass
        if bound == remaining:
            return self._cancelled(gen, interval)
        raise self._no_answer_error()

    def _cancelled(self, gen: PQGen[Answer], interval: float) -> Answer:
        """Cancel the statement and return its answer: an error, unless it finished before."""
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=CLIENT_GRACE_SECONDS)
        try:
            return super().wait(gen, interval, CLIENT_GRACE_SECONDS)
        except errors._WaitTimeout:  # noqa: SLF001  as above
            raise self._no_answer_error() from None

    def _no_answer_error(self) -> psycopg.OperationalError:
        self.on_silence()
        self.pgconn.finish()
        return psycopg.OperationalError("the database does not answer")


def bounded(parameters: Mapping[str, Any], limits: TimeLimits) -> dict[str, Any]:
    """Return the parameters of a connection with the client's limits; the operator's own values take precedence.

    The database's limits are set once there is a connection: poolers refuse them as start-up parameters.
    """
    ours: dict[str, Any] = {"connect_timeout": max(2, round(limits.connect)), "keepalives": 1}
    if limits.statement is not None:
        interval = _probe_interval(limits.statement)
        ours |= {"keepalives_idle": interval, "keepalives_interval": interval, "keepalives_count": KEEPALIVES}
        ours |= {"tcp_user_timeout": round(limits.statement * 1_000)}
    return {**ours, **parameters}


class Hosts:
    """The hosts of a database, in the order in which they are tried: the last one that did not answer is tried last.

    libpq would always take the first that can be written to. That may be an old primary whose commits wait for ever,
    because its standbys have left it.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._silent: tuple[object, object] | None = None

    def connect(
        self, connect: Callable[[dict[str, Any]], BoundedConnection], parameters: Mapping[str, Any]
    ) -> BoundedConnection:
        """Return a connection to the first host that is not stale; raises OperationalError."""
        refused: list[str] = []
        for host in sorted(each_host(parameters), key=lambda host: _name(host) == self._silent):
            try:
                connection = connect(host)
            except psycopg.OperationalError as error:
                refused.append(str(error))
                if isinstance(error, errors.ConnectionTimeout):
                    self._remember(_name(host))
                    refused[-1] = "{}:{}: {}".format(*_name(host), error)  # the driver does not name the host
                continue
            try:
                if self._history.start:
                    [start] = connection.execute(self._history.start_query).fetchone() or [""]
                    connection.rollback()
                    self._history.check_start(start)
            except (StaleDatabaseError, psycopg.Error) as error:
                connection.close()
                refused.append(str(error))
            else:
                connection.on_silence = partial(self._remember, _name(host))
                return connection
        raise psycopg.OperationalError("; ".join(refused))

    def _remember(self, host: tuple[object, object]) -> None:
        self._silent = host


def _name(host: Mapping[str, Any]) -> tuple[object, object]:
    return host.get("host"), host.get("port")


def each_host(parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parameters of a connection to each of the hosts that they name, in their order."""
    hosts = str(parameters.get("host", "")).split(",")
    ports = str(parameters.get("port", "")).split(",")
    for number, host in enumerate(hosts):
        port = ports[number] if len(ports) == len(hosts) else ports[0]
        yield {**parameters, **({"host": host} if host else {}), **({"port": port} if port else {})}


def limits_of(limits: TimeLimits) -> dict[str, str]:
    """Return the settings with which the database bounds a transaction, in milliseconds."""
    timeouts = {
        "statement_timeout": limits.statement,
        "lock_timeout": limits.lock,
        "idle_in_transaction_session_timeout": limits.idle,
    }
    return {name: f"{round(seconds * 1_000)}" for name, seconds in timeouts.items() if seconds is not None}


def probes_of(limits: TimeLimits) -> dict[str, str]:
    """Return the settings with which the database notices a lost client, and releases its locks."""
    if limits.statement is None:
        return {}
    interval = f"{_probe_interval(limits.statement)}"
    names = {"tcp_keepalives_idle": interval, "tcp_keepalives_interval": interval}
    return {
        **names,
        "tcp_keepalives_count": f"{KEEPALIVES}",
        "tcp_user_timeout": f"{round(limits.statement * 1_000)}",
    }


def setting(values: Mapping[str, str], options: str, *, for_transaction: bool) -> str:
    """Return the statement that sets these values, but for those that the operator's own `options` set."""
    ours = {name: value for name, value in values.items() if f"{name}=" not in options.replace(" = ", "=")}
    calls = [f"set_config('{name}', '{value}', {str(for_transaction).lower()})" for name, value in ours.items()]
    return f"SELECT {', '.join(calls) or '1'}"


def _probe_interval(seconds: float) -> int:
    """Return the probe interval of a quiet connection, so that its loss is known after about `seconds`."""
    return max(1, round(seconds / (KEEPALIVES + 1)))

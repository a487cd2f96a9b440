"""Workers in the database: one row each, written in sets."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct as MsgStruct
from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    true,
    tuple_,
    update,
)

from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.tables import chunks, leased
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.owners import Owners
from jobledger_service.core.write.active_workers import MAX_WORKERS, SeenWorker

from .tables import of_fleets, workers

ALL: Final = "*"
"""The owners of a worker that claims for all."""
Place = tuple[bool, str, str]
"""A worker's place in lists: whether it is of another owner's key, that owner, and its name."""


class StoredWorker(MsgStruct, frozen=True):
    """A worker of an owner's key; `owners` are the owners that it serves, None for the key's own."""

    owner: str
    worker: str
    kinds: tuple[str, ...]
    owners: Owners | None
    first_seen_time: Micros
    last_seen_time: Micros
    version: str
    host: str


class SqlWorkerStore:
    """The store of workers. Every method is one transaction, and raises StoreUnavailable."""

    def __init__(self, database: Database, max_workers: int = MAX_WORKERS) -> None:
        self._database = database
        self._max_workers = max_workers
        new = database.dialect.insert_or(workers)
        later = {"last_seen_time": new.excluded.last_seen_time}
        said = {name: new.excluded[name] for name in ("kinds", "served", "version", "host")}
        self._claimed = new.on_conflict_do_update(
            index_elements=("owner", "worker"),
            set_=said | later,
            where=workers.c.last_seen_time < new.excluded.last_seen_time,
        )
        self._heard = (
            update(workers)
            .where(workers.c.owner == bindparam("of"), workers.c.worker == bindparam("by"))
            .where(workers.c.last_seen_time < bindparam("at"))
            .values(last_seen_time=bindparam("at"))
        )

    def write(self, seen: Sequence[SeenWorker]) -> None:
        """Record workers, in the order of their keys. Workers that have not claimed at this server are only updated."""
        rows = sorted(seen, key=lambda worker: (worker.owner, worker.worker))
        claimed = [_row(worker) for worker in rows if worker.info is not None]
        heard = [{"of": worker.owner, "by": worker.worker, "at": worker.time} for worker in rows if worker.info is None]
        with self._database.write() as connection:
            self._database.dialect.lock(connection, "workers")
            if claimed:
                connection.execute(self._claimed, claimed)
            if heard:
                connection.execute(self._heard, heard)

    def trim(self, before: int, limit: int) -> int:
        """Delete at most `limit` workers last seen before a time, or beyond the maximum; return their number."""
        key = (workers.c.owner, workers.c.worker)
        silent = select(*key).where(workers.c.last_seen_time < before).limit(limit)
        with self._database.write() as connection:
            self._database.dialect.lock(connection, "workers")
            gone = {(owner, worker) for owner, worker in connection.execute(silent)}
            gone.update(self._excess(connection, limit - len(gone)))
            if gone:
                row = delete(workers).where(key[0] == bindparam("of"), key[1] == bindparam("by"))
                connection.execute(row, [{"of": owner, "by": worker} for owner, worker in sorted(gone)])
        return len(gone)

    def _excess(self, connection: Connection, limit: int) -> list[tuple[str, str]]:
        many = select(workers.c.owner).group_by(workers.c.owner).having(func.count() > self._max_workers).limit(1)
        owner = connection.execute(many).scalar()
        if owner is None or limit <= 0:
            return []
        newest = (workers.c.last_seen_time.desc(), workers.c.worker)
        beyond = select(workers.c.worker).where(workers.c.owner == owner).order_by(*newest)
        beyond_limit = connection.execute(beyond.offset(self._max_workers).limit(limit)).scalars()
        return [(owner, worker) for worker in beyond_limit]

    def page(self, owner: str, after: Place | None, limit: int) -> tuple[list[tuple[StoredWorker, int]], Place | None]:
        """Return workers of an owner's keys, then others that claim for it, each with how many chunks it holds.

        The place of the last one is returned too when more follow.
        """
        with self._database.read() as connection:
            stored: list[StoredWorker] = []
            if after is None or not after[0]:
                name = "" if after is None else after[2]
                stored = _find(connection, limit + 1, workers.c.owner == owner, workers.c.worker > name)
            if len(stored) <= limit:
                place = tuple_(workers.c.owner, workers.c.worker)
                begin = place > tuple_(*after[1:]) if after is not None and after[0] else true()
                mine = self._database.dialect.contains(workers.c.served, bindparam("mine", type_=Text))
                serves = or_(workers.c.served == f" {ALL} ", mine)
                in_fleets = and_(of_fleets, workers.c.owner != owner, serves, begin)
                stored += _find(connection, limit + 1 - len(stored), in_fleets, mine=f" {owner} ")
            page = stored[:limit]
            held = _held(connection, owner, page)
        return [*zip(page, held, strict=True)], place_of(page[-1], owner) if len(stored) > limit else None


def place_of(worker: StoredWorker, owner: str) -> Place:
    """Return a worker's place in the list of an owner."""
    return worker.owner != owner, worker.owner, worker.worker


def _row(seen: SeenWorker) -> Mapping[str, object]:
    info = seen.info
    assert info is not None  # noqa: S101  the caller looked
    names = [] if info.owners is None else [ALL] if info.owners.all else sorted(info.owners.names)
    return {
        "owner": seen.owner,
        "worker": seen.worker,
        "kinds": " ".join(info.kinds),
        "served": f" {' '.join(names)} " if names else "",
        "first_seen_time": seen.time,
        "last_seen_time": seen.time,
        "version": info.version,
        "host": info.host,
    }


def _find(
    connection: Connection, limit: int, *conditions: ColumnElement[bool], **parameters: str
) -> list[StoredWorker]:
    query = select(workers).where(*conditions).order_by(workers.c.owner, workers.c.worker).limit(limit)
    return [_worker(*row) for row in connection.execute(query, parameters)]


def _worker(owner: str, worker: str, kinds: str, served: str, *columns: str) -> StoredWorker:
    names = frozenset(served.split())
    owners = Owners(all=True) if ALL in names else Owners(names) if names else None
    first, last, version, host = columns
    return StoredWorker(
        owner, worker, tuple(kinds.split()), owners, Micros(int(first)), Micros(int(last)), version, host
    )


def _held(connection: Connection, owner: str, page: Sequence[StoredWorker]) -> list[int]:
    """Return how many chunks each worker holds: the owner's, and those of the fleets of the owner's own keys, all."""
    wide = {worker.worker for worker in page if worker.owner == owner and worker.owners is not None}
    mine = {worker.worker for worker in page} - wide
    which = or_(chunks.c.worker.in_(wide), and_(chunks.c.worker.in_(mine), chunks.c.owner == owner))
    key = (chunks.c.worker, chunks.c.owner)
    counted = select(*key, func.count()).where(leased, which).group_by(*key)
    counts = {(worker, of): count for worker, of, count in connection.execute(counted)}

    def held(worker: StoredWorker) -> int:
        served = worker.owners if worker.owner == owner and worker.owners is not None else Owners(frozenset({owner}))
        return sum(count for (name, of), count in counts.items() if name == worker.worker and of in served)

    return [held(worker) for worker in page]

"""The health of a database: its size, what it holds and what waits."""

import shutil
from collections.abc import Iterable

from sqlalchemy import func, literal, select

from jobledger_service.core.model.history.vitals import MAX_COUNTED_DELIVERIES, StoreVitals
from jobledger_service.core.model.service_kinds import ALL_OWNERS

from .engines import Database, position_of
from .label_indexes import read_states
from .tables import counts, counts_of_all, dead, deliveries, pending, schema_version
from .writer_level import read_writer_level

_JOBS_BY_STATE = select(counts.c.state, counts.c.jobs).where(counts.c.owner == ALL_OWNERS, counts_of_all)
_WAITING = (
    select(deliveries.c.create_time)
    .where(pending)
    .order_by(deliveries.c.create_time)
    .limit(MAX_COUNTED_DELIVERIES)
    .subquery()
)
_DEAD = select(literal(1)).where(dead).limit(MAX_COUNTED_DELIVERIES).subquery()
_DELIVERIES = select(
    func.count(), func.min(_WAITING.c.create_time), select(func.count()).select_from(_DEAD).scalar_subquery()
).select_from(_WAITING)


def read_vitals(database: Database, declared_labels: Iterable[str] = ()) -> StoreVitals:
    """Return the health of the database, also for labels that the settings declare and no index has yet."""
    dialect, file = database.dialect, database.file
    with database.read() as connection:
        position, lowest = position_of(connection), read_writer_level(connection)
        version: str = connection.execute(select(schema_version.c.version_num)).scalar_one()
        size, replicas = dialect.size(connection), dialect.replicas(connection)
        by_state = {state: int(number) for state, number in connection.execute(_JOBS_BY_STATE)}
        waiting, oldest, lost = connection.execute(_DELIVERIES).one()
        labels = dict.fromkeys(declared_labels, False) | read_states(connection)
    free = None
    if file is not None:
        log = file.with_name(f"{file.name}-wal")
        size += log.stat().st_size if log.exists() else 0
        free = shutil.disk_usage(file.parent).free
    return StoreVitals(position, version, size, free, replicas, by_state, waiting, oldest, labels, lowest, lost)

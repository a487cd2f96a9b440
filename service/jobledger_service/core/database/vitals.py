"""The health of a database: its size, the jobs in it, and the deliveries that wait."""

import shutil
from collections.abc import Callable, Iterable

from msgspec import Struct as MsgStruct
from sqlalchemy import Connection, select

from jobledger_service.core.model.history.vitals import NO_DELIVERIES, DeliveryCounts, StoreVitals
from jobledger_service.core.model.service_kinds import ALL_OWNERS

from .engines import Database, position_of
from .label_indexes import read_states
from .tables import counts, counts_of_all, schema_version
from .writer_level import read_writer_level

_JOBS_BY_STATE = select(counts.c.state, counts.c.jobs).where(counts.c.owner == ALL_OWNERS, counts_of_all)

CountDeliveries = Callable[[Connection], DeliveryCounts]
"""Counts the deliveries that wait, and those that are dead."""


class VitalsReader(MsgStruct):
    """Reads the health of a database; deliveries are those of the feature that sets `count_deliveries`."""

    database: Database
    count_deliveries: CountDeliveries | None = None

    def read(self, declared_labels: Iterable[str] = ()) -> StoreVitals:
        """Return the health of the database, also for labels that the settings declare and no index has yet."""
        dialect, file = self.database.dialect, self.database.file
        with self.database.read() as connection:
            position, lowest = position_of(connection), read_writer_level(connection)
            version: str = connection.execute(select(schema_version.c.version_num)).scalar_one()
            size, replicas = dialect.size(connection), dialect.replicas(connection)
            by_state = {state: int(number) for state, number in connection.execute(_JOBS_BY_STATE)}
            deliveries = self.count_deliveries(connection) if self.count_deliveries else NO_DELIVERIES
            labels = dict.fromkeys(declared_labels, False) | read_states(connection)
        free = None
        if file is not None:
            log = file.with_name(f"{file.name}-wal")
            size += log.stat().st_size if log.exists() else 0
            free = shutil.disk_usage(file.parent).free
        return StoreVitals(position, version, size, free, replicas, by_state, deliveries, labels, lowest)

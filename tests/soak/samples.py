"""What is measured of a server's process, and of its database, behind their backs."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from tests.soak.slopes import NOT_JUDGED, Bound
from tests.support import postgres
from tests.support.schemas import metadata

MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Quantity:
    """A sort of measurement: its unit, and what it may rise by."""

    unit: str
    bound: Bound


MEMORY: Final = Quantity("MiB", Bound(0.10, 8))
DESCRIPTORS: Final = Quantity("", Bound(0.10, 8))
THREADS: Final = Quantity("", Bound(0.0, 2))
ROWS: Final = Quantity("rows", Bound(0.10, 300))
ROWS_BY_THE_HOUR: Final = Quantity("rows", NOT_JUDGED)
BY_THE_HOUR: Final = {"rollups", "running_totals", "failures", "usage"}
"""Tables with rows for each hour or day, of which a run sees one or two."""
BYTES: Final = Quantity("MiB", Bound(0.10, 4))
LOG_BYTES: Final = Quantity("MiB", Bound(0.25, 16))

Samples = dict[str, tuple[Quantity, float]]


def of_process(name: str, pid: int) -> Samples:
    """Return the private memory, the open descriptors and the threads of a process; nothing of one that was killed."""
    folder = Path(f"/proc/{pid}")
    try:
        lines = (folder / "status").read_text().splitlines()
        descriptors = len(list((folder / "fd").iterdir()))
    except OSError:
        return {}
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    if "RssAnon" not in status:  # nobody has waited for it yet
        return {}
    return {
        f"{name}: memory": (MEMORY, float(status["RssAnon"].split()[0]) / 1024),
        f"{name}: descriptors": (DESCRIPTORS, descriptors),
        f"{name}: threads": (THREADS, float(status["Threads"])),
    }


def of_database(database: str) -> Samples:
    """Return the rows of each table, and the bytes of all of them and of the write-ahead log."""
    if database.startswith("sqlite"):
        return _of_sqlite(Path(make_url(database).database or ""))
    return _of_postgres(database)


def _of_sqlite(file: Path) -> Samples:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)) as connection:
        rows = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in metadata.tables}  # noqa: S608
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    log = file.with_name(f"{file.name}-wal")
    return _samples(rows, (pages - free) * size, log.stat().st_size if log.exists() else 0)


def _of_postgres(database: str) -> Samples:
    with postgres.connect(database) as connection:
        counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in metadata.tables)  # noqa: S608
        rows = {str(name): int(str(count)) for name, count in connection.execute(counts.encode()).fetchall()}
        sizes = connection.execute(
            "SELECT (SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace), (SELECT sum(size) FROM pg_ls_waldir())"
        ).fetchone()
    assert sizes is not None
    return _samples(rows, float(str(sizes[0])), float(str(sizes[1])))


def _samples(rows: Mapping[str, int], table_bytes: float, log_bytes: float) -> Samples:
    return {
        **{
            f"rows of {name}": (ROWS_BY_THE_HOUR if name in BY_THE_HOUR else ROWS, float(count))
            for name, count in rows.items()
        },
        "bytes of tables": (BYTES, table_bytes / MEBIBYTE),
        "bytes of the write-ahead log": (LOG_BYTES, log_bytes / MEBIBYTE),
    }

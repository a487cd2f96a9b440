"""Indexes of labels are built in steps that any command continues, and have what the jobs have."""

from contextlib import closing
from typing import Any

import pytest
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.label_indexes import (
    LOCK,
    LabelIndexStore,
    are_indexed,
    index_labels,
    prepare_labels,
    read_states,
    ready_indexes,
)
from jobledger_service.core.database.tables import job_labels, jobs, label_indexes
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.write.writing import WriteStore
from sqlalchemy import delete, select, update

from bench.population import JobPopulation
from tests.support.crowds import END
from tests.support.recount import recount

JOBS = 120
STEP = 50


def populate(database: Database) -> None:
    """Write jobs as they were before any label was indexed."""
    for writes, _ in JobPopulation(JOBS, END, chunks=(1,)).writes(JOBS):
        with WriteStore(database).transaction() as transaction:
            transaction.save(writes)


def written(database: Database) -> list[tuple[Any, ...]]:
    """Return the rows of labels, without the numbers of their indexes."""
    columns = [column for column in job_labels.c if column.name != "index_number"]
    with database.read() as connection:
        return sorted((tuple(row) for row in connection.execute(select(*columns))), key=repr)


def state(database: Database) -> dict[str, bool]:
    with database.read() as connection:
        return read_states(connection)


@pytest.mark.guarantee("3e.1")
def test_any_command_continues_where_a_step_ended(database: Database):
    populate(database)
    first = LabelIndexStore(database)
    first.choose(["team", "env"])
    assert first.step(STEP)
    with database.read() as connection:
        keys = connection.execute(select(jobs.c.job_key).order_by(jobs.c.job_key)).scalars().all()
        assert set(connection.execute(select(label_indexes.c.built_through)).scalars()) == {keys[STEP - 1]}
        assert not ready_indexes(connection, JobFilter("default", labels={"team": "media"})), "lists do without it"
        in_index = set(connection.execute(select(job_labels.c.job_key)).scalars())
    assert in_index == {*keys[:STEP]}
    if not database.single_writer:
        url = database.writer.url.render_as_string(hide_password=False)
        with closing(open_database(url)) as other:
            with other.write() as connection:
                other.dialect.lock(connection, LOCK)
                with database.read() as reading:
                    assert not database.dialect.try_lock(reading, LOCK), "one command at a time"
            LabelIndexStore(other).choose(["env", "team"])  # the same: nothing begins anew
            assert LabelIndexStore(other).step(STEP)
    second = LabelIndexStore(database)
    while second.step(STEP):
        pass
    assert state(database) == {"env": True, "team": True}
    rows = written(database)
    assert len({row for row in rows if row[3] in keys}) == len(rows) > JOBS
    first.choose(["team"])
    assert state(database) == {"team": True}
    assert second.step(STEP)
    assert len(written(database)) == len(rows) - STEP, "rows of a name that was taken out go in steps"
    while second.step(STEP):
        pass
    assert len(written(database)) == JOBS
    first.choose(["env", "team"])
    assert state(database) == {"env": False, "team": True}
    while second.step(STEP):
        pass
    assert written(database) == rows


def test_a_recount_makes_indexes_anew(database: Database):
    populate(database)
    index_labels(database, ["team"])
    meant = written(database)
    with database.write() as connection:
        connection.execute(update(job_labels).where(job_labels.c.priority == 5).values(state="QUEUED", digest=7))
        connection.execute(delete(job_labels).where(job_labels.c.priority != 5))
    assert written(database) != meant
    assert recount(database).label_indexes == 1
    assert written(database) == meant
    assert state(database) == {"team": True}
    with database.read() as connection:
        assert len(connection.execute(select(label_indexes.c.number)).all()) == 1, "the rows of the old one went"


def test_a_job_that_cannot_be_read_stops_no_building(database: Database):
    populate(database)
    with database.write() as connection:
        bad = connection.execute(select(jobs.c.job_key).order_by(jobs.c.job_key).limit(1)).scalar_one()
        connection.execute(update(jobs).where(jobs.c.job_key == bad).values(current=b"\xc1"))
    index_labels(database, ["team"])
    assert state(database) == {"team": True}
    assert {row[3] for row in written(database)}.isdisjoint({bad})
    assert len(written(database)) == JOBS - 1


def test_a_build_says_how_far_it_is_and_continues(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("jobledger_service.core.database.label_indexes.JOBS_PER_STEP", STEP)
    populate(database)
    shown: list[tuple[int, int]] = []
    first = LabelIndexStore(database)
    first.choose(["team"])
    assert first.step(STEP)
    index_labels(database, None, lambda done, total: shown.append((done, total)))
    assert shown == [(100, JOBS), (JOBS, JOBS)]
    assert are_indexed(database, ["team"])


def test_a_start_indexes_labels_only_where_there_are_no_jobs(database: Database):
    prepare_labels(database, None)
    assert state(database) == {}
    prepare_labels(database, ["team"])
    assert state(database) == {"team": True}
    populate(database)
    for names in (["env", "team"], ["env"], []):
        assert not are_indexed(database, names)
        prepare_labels(database, names)
        assert state(database) == {"team": True}
    index_labels(database, ["env"])
    assert state(database) == {"env": True}
    assert written(database)
    index_labels(database, [])
    assert written(database) == []
    assert are_indexed(database, [])
    assert are_indexed(database, None)

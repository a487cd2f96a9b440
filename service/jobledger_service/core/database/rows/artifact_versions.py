"""Versions of artifacts: an event refers to those of its time; they are deleted with the last event that needs them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct as MsgStruct
from msgspec import json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    column,
    delete,
    exists,
    func,
    insert,
    select,
    values,
)

from jobledger_service.core.database.cells import Row as Cells
from jobledger_service.core.database.cells import artifacts_text, json_text
from jobledger_service.core.database.tables import artifact_versions, deleted_versions, jobs, tombstones
from jobledger_service.core.model.bounds.sizes import bytes_of_artifacts
from jobledger_service.core.model.history.change import JobDelta
from jobledger_service.core.model.job import NO_UID

from .entry import JOB_ITSELF, ArtifactsKey, Entry
from .reads import EventRow

KEYS_AT_ONCE: Final = 200
"""Versions of one statement."""
VERSIONS_AT_ONCE: Final = 2_000
"""References to versions after which a step of trimming ends: each is a deletion by key."""
_KEY: Final = [artifact_versions.c[name] for name in ArtifactsKey._fields]
_KEY_COLUMNS: Final = [column(part.name, part.type) for part in _KEY]
_OF: Final = [f"of_{name}" for name in ArtifactsKey._fields]
_FORGET_OLDER: Final = delete(artifact_versions).where(
    *(part == bindparam(name) for part, name in zip(_KEY[:3], _OF, strict=False)),
    artifact_versions.c.revision < bindparam(_OF[3]),
)


class References(MsgStruct, frozen=True, array_like=True):
    """What an event needs: the index and the revision of each version, and the job's own before, with its bytes."""

    uid: bytes
    versions: Sequence[tuple[int, int]]
    previous: tuple[int, int] | None

    @classmethod
    def parse(cls, text: str | None) -> "References | None":
        """Return the references of a cell, None for an empty one; raises ValidationError, DecodeError."""
        return None if text is None else json.decode(text, type=cls)

    def keys(self, job_key: str, *, before: bool) -> list[ArtifactsKey]:
        """Return the versions that the event's message shows, or those of the job as it was before."""
        versions = self.versions
        if before:
            versions = [] if self.previous is None else [(JOB_ITSELF, self.previous[0])]
        return [ArtifactsKey(job_key, self.uid, *version) for version in versions]


def references_row(delta: JobDelta, entry: Entry) -> Cells:
    """Return the columns of an event with what it refers to."""
    job, before = delta.job, None if entry.previous is None else delta.before
    if not entry.artifacts:
        return {"artifacts": None, "artifacts_bytes": 0}
    previous = None
    if before is not None and before.artifacts_revision is not None:
        previous = before.artifacts_revision, bytes_of_artifacts(before.artifacts)
    versions = [(key.chunk_index, key.revision) for key in entry.artifacts]
    text = json_text(References(job.spec.uid_bytes, versions, previous))
    return {"artifacts": text, "artifacts_bytes": sum(map(len, entry.artifacts.values()))}


def version_rows(delta: JobDelta, entry: Entry) -> Iterator[Cells]:
    """Yield the rows of the versions that an entry brings."""
    for key, encoded in entry.artifacts.items():
        if key.revision == entry.revision:
            holder = delta.job if key.chunk_index == JOB_ITSELF else delta.chunks[key.chunk_index]
            yield key._asdict() | {"content": artifacts_text(holder.artifacts), "encoded": encoded}


def read_versions(connection: Connection, keys: Iterable[ArtifactsKey]) -> dict[ArtifactsKey, bytes]:
    """Return the encoded artifacts of the versions that exist."""
    distinct, encoded = list(dict.fromkeys(keys)), {}
    for begin in range(0, len(distinct), KEYS_AT_ONCE):
        # joined, not `IN`: SQLite reads all versions to find a tuple of four columns in a list
        named = values(*_KEY_COLUMNS, name="named").data(distinct[begin : begin + KEYS_AT_ONCE]).cte()
        is_named = and_(*(named.c[part.name] == part for part in _KEY))
        versions = select(*_KEY, artifact_versions.c.encoded).join_from(named, artifact_versions, is_named)
        rows = connection.execute(versions)
        encoded.update({ArtifactsKey._make(row[:-1]): row[-1] for row in rows})
    return encoded


def with_artifacts(connection: Connection, rows: Sequence[Any], *, before: bool = False) -> list[EventRow]:
    """Return events of rows of position, key, message, filter fields and references, with the artifacts they need.

    With `before` the message shows the job before.
    """
    needed = {row[0]: _keys(row[1], row[4], before=before) for row in rows if row[4] is not None}
    versions = read_versions(connection, (key for keys in needed.values() for key in keys)) if needed else {}
    return [
        EventRow(position, job_key, message, fields, {key: versions.get(key) for key in needed.get(position, ())})
        for position, job_key, message, fields, _ in rows
    ]


def _keys(job_key: str, text: str | None, *, before: bool) -> list[ArtifactsKey]:
    """Return the versions that a row refers to; for an unreadable row, a version that does not exist."""
    try:
        refers = References.parse(text)
    except ValueError:
        return [ArtifactsKey(job_key, NO_UID, JOB_ITSELF, 0)]
    return [] if refers is None else refers.keys(job_key, before=before)


def previous_bytes(text: str | None) -> int:
    """Return the bytes of the artifacts that a job had before an event."""
    refers = _readable(text)
    return 0 if refers is None or refers.previous is None else refers.previous[1]


def _readable(text: str | None) -> References | None:
    try:
        return References.parse(text)
    except ValueError:
        return None


def forget_versions(connection: Connection, old: Sequence[Any]) -> Sequence[Any]:
    """Delete the versions that only these oldest events need; return the events that may be deleted now.

    The jobs that they deleted are listed.

    Later events of a job refer to the same versions as these, or to later ones. The versions of a deleted job may be
    many, and its removal may need them: they go later, in steps.
    """
    needed: dict[tuple[str, bytes, int], int] = {}
    for place, event in enumerate(old):
        refers = _readable(event.artifacts)
        keys = [] if refers is None else refers.keys(event.job_key, before=False)
        if needed and len(needed) + len(keys) > VERSIONS_AT_ONCE:
            old = old[:place]
            break
        needed.update({key[:3]: key.revision for key in keys})
    if needed:
        connection.execute(_FORGET_OLDER, [dict(zip(_OF, (*key, needed[key]), strict=True)) for key in sorted(needed)])
    here = tombstones.c.position.between(old[0].position, old[-1].position)
    deleted = select(tombstones.c.uid, tombstones.c.job_key).where(here, _has_versions(tombstones))
    connection.execute(insert(deleted_versions).from_select(["uid", "job_key"], deleted))
    return old


def with_versions(connection: Connection, keys: ColumnElement[bool], values: Mapping[str, object]) -> set[str]:
    """Return the keys of the jobs that ever had artifacts, of their own or of their chunks."""
    return set(connection.execute(select(jobs.c.job_key).where(keys, _has_versions(jobs)), values).scalars())


def _has_versions(of: Table) -> ColumnElement[bool]:
    """Whether versions of the job of a row are stored."""
    return exists().where(artifact_versions.c.job_key == of.c.job_key, artifact_versions.c.uid == of.c.uid)


def last_version(connection: Connection, job_key: str, uid: bytes, first: int) -> tuple[int, str] | None:
    """Return the last artifacts of a job, from an index on: the index of their chunk, or JOB_ITSELF, and the cell."""
    of_job = artifact_versions.c.job_key == job_key, artifact_versions.c.uid == uid
    next_index = select(func.min(artifact_versions.c.chunk_index)).where(
        *of_job, artifact_versions.c.chunk_index >= first
    )
    last = (
        select(artifact_versions.c.chunk_index, artifact_versions.c.content)
        .where(*of_job, artifact_versions.c.chunk_index == next_index.scalar_subquery())
        .order_by(artifact_versions.c.revision.desc())
        .limit(1)
    )
    row = connection.execute(last).first()
    return None if row is None else (row.chunk_index, row.content)

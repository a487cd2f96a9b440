"""Versions of artifacts: an event refers to those that held then, and they go with the last event that needs them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct as MsgStruct
from msgspec import json
from sqlalchemy import Column, Connection, Select, delete, select, tuple_

from jobledger_service.core.model.job import NO_UID
from jobledger_service.core.model.sizes import bytes_of_artifacts

from .cells import Row as Cells
from .cells import artifacts_text, json_text
from .entry import JOB_ITSELF, ArtifactsKey, Entry, Record
from .reads import EventRow
from .tables import artifact_versions

KEYS_AT_ONCE: Final = 200
"""Versions of one statement."""
VERSIONS_AT_ONCE: Final = 2_000
"""Versions of deleted jobs that one step of trimming deletes."""
_KEY: Final = [artifact_versions.c[name] for name in ArtifactsKey._fields]


class References(MsgStruct, frozen=True, array_like=True):
    """What an event needs: the index and the revision of each version, and the job's own before, with its bytes."""

    uid: bytes
    versions: Sequence[tuple[int, int]]
    previous: tuple[int, int] | None
    deletes: bool = False

    @classmethod
    def parse(cls, text: str | None) -> "References | None":
        """Return the references of a cell, None for none; raises ValidationError, DecodeError."""
        return None if text is None else json.decode(text, type=cls)

    def keys(self, job_key: str, *, before: bool) -> list[ArtifactsKey]:
        """Return the versions that the event's message shows, or those of the job as it was before."""
        versions = self.versions
        if before:
            versions = [] if self.previous is None else [(JOB_ITSELF, self.previous[0])]
        return [ArtifactsKey(job_key, self.uid, *one) for one in versions]


def references_row(record: Record, entry: Entry) -> Cells:
    """Return the columns of an event with what it refers to; a deletion names the job's uid in any case."""
    job, before = record.job, record.previous
    if not entry.artifacts and not record.deleted:
        return {"artifacts": None, "artifacts_bytes": 0}
    previous = None
    if before is not None and before.artifacts_revision is not None:
        previous = before.artifacts_revision, bytes_of_artifacts(before.artifacts)
    versions = [(key.chunk_index, key.revision) for key in entry.artifacts]
    text = json_text(References(job.spec.uid_bytes, versions, previous, record.deleted))
    return {"artifacts": text, "artifacts_bytes": sum(map(len, entry.artifacts.values()))}


def version_rows(record: Record, entry: Entry) -> Iterator[Cells]:
    """Yield the rows of the versions that a record brings."""
    chunks = {chunk.index: chunk for chunk in record.chunks}
    for key, encoded in entry.artifacts.items():
        if key.revision == entry.revision:
            holder = record.job if key.chunk_index == JOB_ITSELF else chunks[key.chunk_index]
            yield key._asdict() | {"content": artifacts_text(holder.artifacts), "encoded": encoded}


def read_versions(connection: Connection, keys: Iterable[ArtifactsKey]) -> dict[ArtifactsKey, bytes]:
    """Return the encoded artifacts of those of some versions that there are, each once."""
    rows = _matching(connection, select(*_KEY, artifact_versions.c.encoded), _KEY, keys)
    return {ArtifactsKey._make(row[:-1]): row[-1] for row in rows}


def _matching(
    connection: Connection, wanted: Select[Any], columns: Sequence[Column[Any]], values: Iterable[tuple[Any, ...]]
) -> Iterator[Any]:
    """Yield what is wanted of the versions whose columns have some of these values."""
    some = list(dict.fromkeys(values))
    for begin in range(0, len(some), KEYS_AT_ONCE):
        yield from connection.execute(wanted.where(tuple_(*columns).in_(some[begin : begin + KEYS_AT_ONCE])))


def with_artifacts(connection: Connection, rows: Sequence[Any], *, before: bool = False) -> list[EventRow]:
    """Return events of rows of position, key, message, filter fields and references, with the artifacts they need.

    With `before` the message shows the job before.
    """
    needed = {row[0]: _keys(row[1], row[4], before=before) for row in rows if row[4] is not None}
    found = read_versions(connection, (key for keys in needed.values() for key in keys)) if needed else {}
    return [
        EventRow(position, job_key, message, fields, {key: found.get(key) for key in needed.get(position, ())})
        for position, job_key, message, fields, _ in rows
    ]


def _keys(job_key: str, text: str | None, *, before: bool) -> list[ArtifactsKey]:
    """Return the versions that a row refers to; one that does not exist for a row that cannot be read."""
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
    """Delete the versions that nothing needs without these oldest events; return those of them that may go now.

    A deletion whose job has too many versions for one step waits for the next one, and so do the events after it.
    """
    deletions = {
        (event.job_key, refers.uid): place
        for place, event in enumerate(old)
        if (refers := _readable(event.artifacts)) is not None and refers.deletes
    }
    with_some = _matching(connection, select(*_KEY[:2]).distinct(), _KEY[:2], deletions)
    left = VERSIONS_AT_ONCE
    for place, job in sorted((deletions[key, uid], (key, uid)) for key, uid in with_some):
        of_job = select(*_KEY).where(tuple_(*_KEY[:2]).in_([job]))
        left -= _delete(connection, connection.execute(of_job.order_by(_KEY[2].desc()).limit(left)))
        if not left:
            old = old[:place]
            break
    _forget_older(connection, old)
    return old


def _forget_older(connection: Connection, old: Iterable[Any]) -> None:
    """Delete the versions older than those of some events: later events of a job refer to these, or to later ones."""
    needed: dict[tuple[str, bytes, int], int] = {}
    for event in old:
        if (refers := _readable(event.artifacts)) is not None:
            needed.update({key[:3]: key.revision for key in refers.keys(event.job_key, before=False)})
    found = map(ArtifactsKey._make, _matching(connection, select(*_KEY), _KEY[:3], needed))
    _delete(connection, [key for key in found if key.revision < needed[key[:3]]])


def _delete(connection: Connection, keys: Iterable[Any]) -> int:
    """Delete versions; return how many."""
    gone = list(map(tuple, keys))
    for begin in range(0, len(gone), KEYS_AT_ONCE):
        connection.execute(delete(artifact_versions).where(tuple_(*_KEY).in_(gone[begin : begin + KEYS_AT_ONCE])))
    return len(gone)

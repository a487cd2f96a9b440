"""What the artifacts of deleted jobs point at, a few at a time, by the versions that outlive their jobs."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, exists, select

from jobledger_service.core.database.cells import artifacts_of
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.rows.artifact_versions import last_version
from jobledger_service.core.database.rows.deleted_jobs import trim_deleted
from jobledger_service.core.database.tables import artifact_versions, deleted_versions

from .family import DeletedJob
from .tables import artifact_removals
from .walk import Place

MAX_READ_BYTES = 1024 * 1024
"""A read ends with the version that reaches this size."""

Listed = tuple[Place, str | None]
"""An artifact and its URI, None for a version that cannot be read."""


class DeletedArtifacts:
    """The artifacts of deleted jobs and their chunks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listed(self, job: DeletedJob, place: Place, limit: int) -> tuple[list[Listed], Place]:
        """Return at most `limit` artifacts from a place on, of as many versions, and the place after them."""
        listed: list[Listed] = []
        size = 0
        with self._database.read() as connection:
            for _ in range(limit):
                if len(listed) == limit or size >= MAX_READ_BYTES:
                    break
                read = last_version(connection, job.key, job.uid, place[0])
                if read is None:
                    return listed, (job.chunk_count, 0)
                index, content = read
                size += len(content)
                uris = _uris(content)
                first = place[1] if index == place[0] else 0
                part = uris[first : first + limit - len(listed)]
                listed += (((index, first + n), uri) for n, uri in enumerate(part))
                end = first + len(part)
                place = (index, end) if end < len(uris) else (index + 1, 0)
        return listed, place

    def named(self, job: DeletedJob, places: Iterable[Place]) -> list[Listed]:
        """Return the artifacts at some places."""
        with self._database.read() as connection:
            versions: dict[int, Sequence[str | None]] = {}
            return [(place, self._uri(connection, job, place, versions)) for place in places]

    def trim_versions(self, limit: int) -> bool:
        """Delete at most `limit` artifact versions, fewer when they are large; return whether there may be more.

        Only of jobs whose events were trimmed, and whose artifacts are not being deleted.
        """
        is_read = exists().where(artifact_removals.c.uid == deleted_versions.c.uid)
        deleted = select(deleted_versions).where(~is_read)
        return trim_deleted(self._database, deleted, deleted_versions, artifact_versions, limit)

    def _uri(
        self, connection: Connection, job: DeletedJob, place: Place, versions: dict[int, Sequence[str | None]]
    ) -> str | None:
        index, number = place
        if index not in versions:
            read = last_version(connection, job.key, job.uid, index)
            versions[index] = _uris(read[1]) if read is not None and read[0] == index else ()
        return versions[index][number] if number < len(versions[index]) else None


def _uris(content: str) -> Sequence[str | None]:
    try:
        return [artifact.uri for artifact in artifacts_of(content).values()]
    except (ValueError, TypeError, AttributeError):
        return [None]

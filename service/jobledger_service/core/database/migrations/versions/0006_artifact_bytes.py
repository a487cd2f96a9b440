"""The bytes of what the artifacts of jobs point at: of each job, counted by owner, kind and state, and bounded."""

from typing import Final

from alembic import op
from sqlalchemy import BigInteger, Column

revision = "0006"
down_revision = "0005"

_READER_OF_POSTGRES: Final = """
CREATE FUNCTION pg_temp.bytes_of(content text) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT sum((value ->> 2)::bigint) FROM json_each(content::json));
EXCEPTION WHEN OTHERS THEN
    RETURN 0;
END $$
"""
_SIZE: Final = {
    "sqlite": """
    CASE WHEN json_valid(content) THEN (
        SELECT total(CASE WHEN type = 'array' THEN json_extract(value, '$[2]') END) FROM json_each(content)
    ) END
    """,
    "postgresql": "pg_temp.bytes_of(content)",
}
"""The bytes of a version of artifacts; of one that cannot be read 0, so that it stops no migration."""
_SUM: Final = {
    "sqlite": "CAST(min(total({0}), 4611686018427387903) AS BIGINT)",
    "postgresql": "least(coalesce(sum({0}), 0), 4611686018427387903)::bigint",
}
_OF_JOBS: Final = """
UPDATE jobs SET artifact_bytes = stored.bytes FROM (
    SELECT version.job_key, {sum} AS bytes
    FROM artifact_versions AS version JOIN jobs AS job ON job.job_key = version.job_key AND job.uid = version.uid
    LEFT JOIN chunks AS chunk ON chunk.job_key = version.job_key AND chunk.chunk_index = version.chunk_index
    WHERE version.revision = CASE version.chunk_index WHEN -1 THEN job.artifacts_revision ELSE chunk.artifacts_revision END
    GROUP BY version.job_key
) AS stored WHERE jobs.job_key = stored.job_key
"""
_OF_COUNTS: Final = """
UPDATE counts SET artifact_bytes = stored.bytes FROM (
    SELECT {owner} AS owner, {kind} AS kind, state, {sum} AS bytes
    FROM jobs WHERE artifact_bytes > 0 GROUP BY {by}
) AS stored WHERE counts.owner = stored.owner AND counts.kind = stored.kind AND counts.state = stored.state
"""


def upgrade() -> None:
    """Add the columns, and count what is stored."""
    for table in ("jobs", "counts"):
        op.add_column(table, Column("artifact_bytes", BigInteger, nullable=False, server_default="0"))
    op.add_column("quotas", Column("max_artifact_bytes", BigInteger))
    connection = op.get_bind()
    database = connection.dialect.name
    if database == "postgresql":
        connection.exec_driver_sql(_READER_OF_POSTGRES, execution_options={"no_parameters": True})
    connection.exec_driver_sql(
        _OF_JOBS.format(sum=_SUM[database].format(_SIZE[database])), execution_options={"no_parameters": True}
    )
    of_counts = _SUM[database].format("artifact_bytes")
    for owner, kind, by in (
        ("owner", "kind", "owner, kind, state"),
        ("owner", "''", "owner, state"),
        ("''", "kind", "kind, state"),
        ("''", "''", "state"),
    ):
        connection.exec_driver_sql(_OF_COUNTS.format(owner=owner, kind=kind, by=by, sum=of_counts))

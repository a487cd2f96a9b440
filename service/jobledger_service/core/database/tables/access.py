"""Keys, and what was called with them."""

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, Table, Text, literal_column

from .schema import Key, metadata, partial_index

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Key, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("roles", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("expire_time", BigInteger),
    Column("revoke_time", BigInteger),
    Column("last_used_time", BigInteger),
    Column("request_key", Key),
    Column("served_owners", Text, nullable=False),
    Column("all_owners", Boolean, nullable=False),
    Column("change", BigInteger, nullable=False),
)
Index("api_keys_by_change", api_keys.c.change, unique=True)
Index("api_keys_by_digest", api_keys.c.digest, unique=True)
Index("api_keys_by_request", api_keys.c.request_key, unique=True)
Index("api_keys_by_time", api_keys.c.create_time, api_keys.c.key_id)

workers = Table(
    "workers",
    metadata,
    Column("owner", Key, primary_key=True),
    Column("worker", Key, primary_key=True),
    Column("kinds", Text, nullable=False),
    Column("served", Text, nullable=False),
    Column("first_seen_time", BigInteger, nullable=False),
    Column("last_seen_time", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("host", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""By the owner of the key. `served` has the owners for whom a worker claims, each between spaces; empty for its own."""
of_fleets = workers.c.served != literal_column("''")
partial_index("workers_of_fleets", workers.c.owner, workers.c.worker, where=of_fleets)
Index("workers_by_time", workers.c.last_seen_time)

quotas = Table(
    "quotas",
    metadata,
    Column("owner", Key, primary_key=True),
    Column("max_unfinished_jobs", BigInteger),
    Column("max_stored_jobs", BigInteger),
    Column("max_watches", BigInteger),
    Column("reason", Text, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_time", BigInteger, nullable=False),
)
"""The bounds of owners that admins set; NULL for the server's default. What is counted against them is in `counts`."""

usage = Table(
    "usage",
    metadata,
    Column("day", Key, primary_key=True),
    Column("owner", Key, primary_key=True),
    Column("key_id", Key, primary_key=True),
    Column("method", Key, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("micros", BigInteger, nullable=False),
)

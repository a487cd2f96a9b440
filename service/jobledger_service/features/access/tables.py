"""The table of API keys."""

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, Table, Text

from jobledger_service.core.database.tables.schema import Key, metadata

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
Index("api_keys_by_owner", api_keys.c.owner, api_keys.c.create_time, api_keys.c.key_id)
Index("api_keys_by_time", api_keys.c.create_time, api_keys.c.key_id)

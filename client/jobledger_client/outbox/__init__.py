"""Jobs that exist if and only if a transaction of your own database commits: the extra `outbox` of the SDK.

```python
with engine.begin() as connection:
    connection.execute(insert(orders).values(id=17))
    outbox.create_job(connection, "orders.ship", input={"order": 17})
```

The row of the job is committed with the order. A relay, `outbox.Relay(engine, target)` or `jobledger outbox relay`,
sends it to the server.
"""

try:
    import sqlalchemy as _sqlalchemy
except ModuleNotFoundError as missing:
    advice = "jobledger_client.outbox needs SQLAlchemy: pip install 'jobledger-client[outbox]'"
    raise ModuleNotFoundError(advice) from missing

from jobledger_client.outbox._relay import Relay
from jobledger_client.outbox._rows import create_job, create_jobs, create_table, metadata, table
from jobledger_client.outbox._store import OutboxRow, list_rows, retry_rows

__all__ = [
    "OutboxRow",
    "Relay",
    "create_job",
    "create_jobs",
    "create_table",
    "list_rows",
    "metadata",
    "retry_rows",
    "table",
]

OutboxRow.__module__ = Relay.__module__ = __name__

del _sqlalchemy

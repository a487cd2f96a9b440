"""The service: `python -m examples.outbox.shop DATABASE ORDERS`. It takes orders until there are so many."""

import random
import sys

from jobledger_client import outbox
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, create_engine, func, insert, select

KIND = "orders.ship"
CANCELLED = 0.3  # of all orders, in the middle of their transactions

metadata = MetaData()
orders = Table(
    "orders", metadata, Column("id", Integer, primary_key=True), Column("job_id", String(36), nullable=False)
)


def take_order(connection: Connection, number: int) -> None:
    """Insert an order and its job."""
    job_id = outbox.create_job(connection, KIND, input={"order": number}, labels={"order": str(number)})
    connection.execute(insert(orders).values(id=number, job_id=job_id))


def serve(engine: Engine, count: int) -> None:
    """Take orders; some customers change their minds before the commit."""
    with engine.begin() as connection:
        metadata.create_all(connection)
        outbox.create_table(connection)
        number = connection.execute(select(func.max(orders.c.id))).scalar() or 0
    while number < count:
        with engine.connect() as connection, connection.begin() as transaction:
            take_order(connection, number + 1)
            if random.random() < CANCELLED:  # noqa: S311 - no secret
                transaction.rollback()
            else:
                number += 1


if __name__ == "__main__":
    serve(create_engine(sys.argv[1]), int(sys.argv[2]))

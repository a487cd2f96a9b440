"""What Alembic runs: the steps, on the connection that `migrate` handed over."""

from alembic import context

from jobledger_service.core.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()

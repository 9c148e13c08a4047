"""Runs migrations on the connection that storage.postgres.schema hands over, in its transaction."""

from alembic import context

from storage.postgres.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()

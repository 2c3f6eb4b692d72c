"""Alembic's environment: on the connection it is handed, inside the transaction that is open there."""

from alembic import context

from f1mon_sql.schema.versions import context_options

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=False, **context_options())
context.run_migrations()

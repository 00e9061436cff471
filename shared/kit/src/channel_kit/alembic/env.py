"""Alembic's environment for every service: the kit hands it a connection that is already in a transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=False)
context.run_migrations()

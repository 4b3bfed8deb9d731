"""Alembic's entry: it is handed a connection that is already in a transaction."""

from __future__ import annotations

from alembic import context

from inhouse.migrations.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata(),
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()

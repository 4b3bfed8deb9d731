"""copies that a shadow answered, by the call that they are of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Few calls are copies, so the index holds those alone."""
    copies = sa.text("shadow_of IS NOT NULL")
    op.create_index(
        "ix_interaction_shadow_of",
        "interaction",
        ["shadow_of"],
        sqlite_where=copies,
        postgresql_where=copies,
    )

"""time limits and audits of experiments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Experiments of before have no limit, and draw no calls."""
    op.add_column("experiment", sa.Column("days", sa.Float(), nullable=True))
    op.add_column("experiment", sa.Column("audit", sa.Float(), nullable=False, server_default="0"))
    op.add_column("experiment", sa.Column("judge", sa.Text(), nullable=False, server_default=""))

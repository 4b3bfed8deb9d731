"""What the installation knows of itself."""

from __future__ import annotations

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from inhouse.db.base import Base


class Meta(Base):
    """Named facts of this installation: its id, the salt of its hashes."""

    __tablename__ = "meta"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)

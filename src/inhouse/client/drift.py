"""Looks for drift, as they travel."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from inhouse.client.control import Answer, Name, Request


class DriftLook(Answer):
    """One look at one model of a task: how far the newest calls are from what it was made from.

    ``inputs`` and ``outputs``: the largest distances, 0 to 1; null where there was nothing to
    compare with. ``drifted``: one of them is both unlikely to be chance and large; ``reasons`` say
    which. ``detail``: by side what it was compared with and every distance with its chance, and the
    name of what compared by meaning.
    """

    id: str
    task: str
    reference: str
    calls: int
    inputs: float | None
    outputs: float | None
    drifted: bool
    reasons: list[str]
    detail: dict[str, Any]
    created_at: datetime


class DriftRequest(Request):
    """Look for drift in the background: at one task, or at all."""

    task: Name | None = None

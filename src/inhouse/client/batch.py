"""What travels on ``run-batch``: many inputs of one task in one request.

A request refuses fields that it does not know; answers may gain fields in later versions.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from inhouse.client.models import Key, Problem, RunResponse, Tags

MOST_INPUTS = 1000


class BatchInput(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One input of a batch; the fields are those of ``RunRequest``."""

    input: Annotated[str, Meta(min_length=1)]
    unit: Key | None = None
    subject: Key | None = None
    tags: Tags | None = None


class BatchRequest(
    Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Up to 1,000 calls of a task. ``model``: a reference that must answer all of them, instead of
    the task's route."""

    inputs: Annotated[list[BatchInput], Meta(min_length=1, max_length=MOST_INPUTS)]
    model: Key | None = None


class BatchResult(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What became of one input: ``ok``, or ``error`` as the input alone would have got it.

    Beside an error: ``interaction_id`` of the recorded call, where one was made, and
    ``retry_after``, the seconds to wait, where waiting helps.
    """

    ok: RunResponse | None = None
    error: Problem | None = None
    interaction_id: str | None = None
    retry_after: int | None = None


class BatchResponse(Struct, kw_only=True, frozen=True):
    """One result for each input, in the order of the inputs."""

    results: list[BatchResult]

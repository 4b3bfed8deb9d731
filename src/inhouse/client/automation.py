"""What travels on the routes of automation."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import StringConstraints

from inhouse.client.control import Answer, Reason, Request

Note = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]


class Proposal(Answer):
    """Something that automation would do, or would not.

    ``what``: train, evaluate or roll_out. ``about``: the version, "" for training. ``why``: in
    words, ``evidence``: the numbers in them. ``state``: open, accepted, done, declined or expired.
    ``result``: what came of it: job_id, run_id, rollout_id.
    """

    id: str
    task: str
    what: str
    about: str
    based_on: str
    why: str
    evidence: dict[str, float]
    state: str
    decided_by: str | None
    decided_at: datetime | None
    reason: str
    result: dict[str, Any]
    created_at: datetime


class TaskAutomation(Answer):
    """A task. ``mode``: off, ask or on. ``training``, ``rollout``: what is next, and why.
    ``proposals`` wait for a person."""

    task: str
    mode: str
    training: str
    rollout: str
    proposals: list[Proposal]


class Pause(Answer):
    """Who paused all background work, why and when."""

    actor: str
    reason: str
    at: datetime


class Automation(Answer):
    """How automation stands. ``paused``: null while background work goes on."""

    paused: Pause | None
    tasks: list[TaskAutomation]


class ProposalAccept(Request):
    """Do it."""

    reason: Note = ""


class ProposalDecline(Request):
    """Do not; it comes back with new evidence only."""

    reason: Reason


class PauseRequest(Request):
    """Pause all background work."""

    reason: Reason


class Paused(Answer):
    """Whether background work is paused, and by whom."""

    paused: Pause | None

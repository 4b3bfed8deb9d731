"""The navigation: what there is to look at, in the order of the story."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Item:
    """A page of the navigation. ``id`` names its icon too; ``key`` follows G on the keyboard."""

    id: str
    name: str
    path: str
    key: str


@dataclass(frozen=True, slots=True)
class Group:
    """Items under a heading; "" has none."""

    name: str
    items: tuple[Item, ...]


GROUPS: Final = (
    Group("", (Item("overview", "Overview", "/", "O"),)),
    Group(
        "Record",
        (
            Item("interactions", "Interactions", "/interactions", "I"),
            Item("datasets", "Datasets", "/datasets", "D"),
        ),
    ),
    Group(
        "Models",
        (
            Item("training", "Training", "/training", "R"),
            Item("versions", "Versions", "/versions", "V"),
            Item("evaluations", "Evaluations", "/evaluations", "E"),
            Item("rollouts", "Rollouts", "/rollouts", "L"),
            Item("experiments", "Experiments", "/experiments", "X"),
            Item("automation", "Automation", "/automation", "A"),
        ),
    ),
    Group(
        "Serve",
        (
            Item("tasks", "Tasks", "/tasks", "T"),
            Item("upstreams", "Upstreams", "/upstreams", "U"),
            Item("settings", "Settings", "/settings", "S"),
        ),
    ),
)
BOTTOM: Final = tuple(
    item
    for group in GROUPS
    for item in group.items
    if item.id in ("overview", "interactions", "training", "tasks")
)
"""Pages within reach of a thumb; all of them are behind "More"."""

"""What travels on the route of the recipes."""

from __future__ import annotations

from typing import Any

from inhouse.client.control import Answer


class Recipe(Answer):
    """A named way to train. ``settings`` is the JSON Schema of what it can be told, with the
    defaults; ``default`` says whether a run without a recipe takes it."""

    name: str
    summary: str
    settings: dict[str, Any]
    default: bool

"""The form that starts a training run: recipes with what they can be told. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inhouse.tasks.spec import TaskSpec
from inhouse.training.recipes import RECIPES


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeForm:
    """A recipe; ``settings`` are names with their defaults in words."""

    name: str
    summary: str
    settings: Sequence[tuple[str, str]]


def recipe_forms(spec: TaskSpec | None = None) -> list[RecipeForm]:
    """The recipes that train tasks of this one's kind, or all."""
    return [
        RecipeForm(
            name=recipe.name,
            summary=recipe.summary,
            settings=_settings(recipe.settings.model_json_schema()["properties"]),
        )
        for recipe in RECIPES.values()
        if spec is None or spec.kind in recipe.kinds
    ]


def _settings(properties: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(name, _words(about.get("default"))) for name, about in properties.items()]


def _words(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, list):
        return ", ".join(f"{value:g}" for value in default)
    return f"{default:g}" if isinstance(default, float) else str(default)

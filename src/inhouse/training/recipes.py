"""Recipes: a trainer and the settings that it understands, under a name with a version.

A name never changes what it means: another algorithm or another default is another version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from inhouse.core.errors import Invalid
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.training.trainers.base import RecipeSettings, Trainer
from inhouse.training.trainers.encoder_full import EncoderFull
from inhouse.training.trainers.encoder_head import EncoderHead, EncoderHeadSettings
from inhouse.training.trainers.encoder_settings import EncoderFullSettings

DEFAULT = "encoder-head.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named way to train; ``summary`` is one sentence for people, ``kinds`` those of the tasks
    that it trains."""

    name: str
    trainer: Trainer[Any]
    settings: type[RecipeSettings]
    summary: str
    kinds: tuple[TaskKind, ...] = (TaskKind.CHOICE, TaskKind.SCORE)


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name=DEFAULT,
            trainer=EncoderHead(),
            settings=EncoderHeadSettings,
            summary="Frozen sentence encoder with a calibrated linear head; 8 to some 10,000 "
            "examples, seconds to minutes on a CPU.",
        ),
        Recipe(
            name="encoder.v1",
            trainer=EncoderFull(),
            settings=EncoderFullSettings,
            summary="Sentence encoder fine-tuned with its head; 500 examples and more, minutes to "
            "an hour on a CPU.",
        ),
    )
}


def find(name: str) -> Recipe:
    """The recipe of that name. Raises Invalid (``recipe``) that lists the names there are."""
    recipe = RECIPES.get(name)
    if recipe is None:
        raise Invalid(
            f"there is no recipe {name!r}", code="recipe", hint="recipes: " + ", ".join(RECIPES)
        )
    return recipe


def check_kind(name: str, spec: TaskSpec) -> None:
    """Raise Invalid (``recipe-kind``) unless the recipe trains tasks of this kind; the hint names
    those that do, or says that none does yet."""
    recipe = find(name)
    if spec.kind in recipe.kinds:
        return
    fit = [other.name for other in RECIPES.values() if spec.kind in other.kinds]
    there = "; ".join(f"{r.name} trains {' and '.join(r.kinds)}" for r in RECIPES.values())
    raise Invalid(
        f"{name} trains no {spec.kind}, which task {spec.name} answers with",
        code="recipe-kind",
        hint="take " + " or ".join(fit) if fit else f"no recipe does yet: {there}",
    )


def resolve(name: str, overrides: Mapping[str, Any]) -> tuple[Trainer[Any], RecipeSettings]:
    """Trainer and complete settings of a recipe.

    Raises Invalid (``recipe``) for an unknown name, (``recipe-settings``) for an unknown key or a
    value that does not fit; the hint lists what there is.
    """
    recipe = find(name)
    try:
        return recipe.trainer, recipe.settings.model_validate(dict(overrides))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise Invalid(
            f"{name}: {key}: {reason}",
            code="recipe-settings",
            hint="keys: " + ", ".join(recipe.settings.model_fields),
        ) from None

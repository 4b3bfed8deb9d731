"""The form that starts an experiment: its fields, what was sent, what is wrong where. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from inhouse.core.errors import InhouseError, Invalid
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.rollout.declared import question_of
from inhouse.rollout.findings import Question, Unanswerable
from inhouse.rollout.looks import MOST_OUTCOMES, needed_horizon
from inhouse.rollout.plan import FULL_BP
from inhouse.rollout.trial import Measure
from inhouse.settings import RolloutSettings

DECLARED: Final = ""
"""The judge that the task declares, as the form sends it."""
NONE: Final = "none"
POWER: Final = 0.8
METRICS: Final = (
    (Measure.SUCCESS.value, "success: answered, in time and valid"),
    (Measure.CORRECT.value, "correct: labelled answers that are right"),
    (Measure.ERROR.value, "error: mean error of labelled answers"),
    (Measure.LATENCY.value, "latency: mean seconds of a call"),
)
_LEAST_EFFECT: Final = 0.000001
_LARGEST: Final = 1e9
_FIELD_OF: Final = {"reason": "reason", "audit-judge": "judge"}
"""The field that an error is about, by its code."""


@dataclass(frozen=True, slots=True)
class Field:
    """A number of the form; ``usual`` is what stands there before somebody writes."""

    name: str
    label: str
    hint: str
    usual: str = ""
    is_whole: bool = False


HORIZON: Final = Field(
    "horizon", "Horizon", "outcomes of both arms together; it ends there", is_whole=True
)
_WEIGHT: Final = Field("weight", "Share of B, per cent", "of the units; the rest get A", "50")
_LOOKS: Final = Field("looks", "Looks", "how often the figures are judged", "5", is_whole=True)
_ALPHA: Final = Field("alpha", "Alpha", "chance of a false winner over all looks", "0.05")
SPLIT: Final = (_WEIGHT, _LOOKS, _ALPHA)
DAYS: Final = Field("days", "Time limit, days", "without a winner by then it ends")
AUDIT: Final = Field("audit", "Audited share", "of the calls; drawn for correct and error alone")
EFFECT: Final = Field("effect", "Smallest difference that matters", "such as 0.03 for 3 points")
TODAY: Final = Field(
    "today", "Today", "success or correct as a rate; error, latency: standard deviation"
)
_NUMBERS: Final = (HORIZON, *SPLIT, DAYS, AUDIT)


def question(task: str, declared: RolloutSettings, sent: Mapping[str, str]) -> Question:
    """The question that a form asks; what it leaves out is as the task declares.

    Raises Unanswerable (``experiment-plan``) with what is wrong by the name of the field.
    """
    return question_of(task, declared, **_asked(sent, _NUMBERS))


def horizon(task: str, declared: RolloutSettings, sent: Mapping[str, str]) -> int:
    """The horizon that finds the difference of a form with a chance of 80 %. Raises Unanswerable
    as ``question`` does."""
    found = _asked(sent, (*SPLIT, EFFECT, TODAY))
    effect, today = found.pop("effect"), found.pop("today")
    asked = question_of(task, declared, **found, horizon=MOST_OUTCOMES)
    _check_difference(asked.metric, effect, today)
    kind = "rate" if asked.metric.is_share else "spread"
    try:
        return needed_horizon(
            effect=effect,
            weight=asked.weight_bp / FULL_BP,
            looks=asked.looks,
            alpha=asked.alpha,
            power=POWER,
            **{kind: today},
        )
    except Invalid as error:
        raise Unanswerable({"effect": error.message}) from None


def _check_difference(metric: Measure, effect: float, today: float) -> None:
    faults = {}
    if effect < _LEAST_EFFECT:
        faults["effect"] = f"the difference must be at least {_LEAST_EFFECT:f}"
    if metric.is_share and not 0.0 <= today <= 1.0:
        faults["today"] = f"{metric} is a rate from 0 to 1"
    if not metric.is_share and today <= 0.0:
        faults["today"] = "a standard deviation is above 0"
    if faults:
        raise Unanswerable(faults)


def faults_of(error: InhouseError | None) -> Mapping[str, str]:
    """What an error says by the name of the field that it is about; nothing where it is about
    none."""
    if isinstance(error, Unanswerable):
        return error.faults
    if error is not None and error.code in _FIELD_OF:
        return {_FIELD_OF[error.code]: error.message}
    return {}


def written(sent: Mapping[str, str], declared: RolloutSettings) -> dict[str, str]:
    """What stands in the fields: what was sent, or is usual."""
    usual = {one.name: one.usual for one in (*_NUMBERS, EFFECT, TODAY)}
    usual |= {"days": f"{declared.time_limit_s / 86_400:.6g}", "metric": Measure.SUCCESS.value}
    usual |= dict.fromkeys(("a", "b", "judge", "reason"), "")
    return {name: sent.get(name, value) for name, value in usual.items()}


def judges(declared: RolloutSettings, known: Iterable[str]) -> list[tuple[str, str]]:
    """Who may judge, as values and words: what is declared, nobody, or a general model."""
    general = (ReferenceKind.UPSTREAM, ReferenceKind.EMBEDDED)
    names = sorted({one for one in known if parse_reference(one).kind in general})
    return [
        (DECLARED, f"as declared: {declared.judge or 'nobody'}"),
        (NONE, "nobody; people label"),
        *((name, name) for name in names),
    ]


def _asked(sent: Mapping[str, str], numbers: tuple[Field, ...]) -> dict[str, Any]:
    judge = sent.get("judge", DECLARED)
    found: dict[str, Any] = {name: sent.get(name, "") for name in ("a", "b", "metric")}
    found["judge"] = None if judge == DECLARED else "" if judge == NONE else judge
    faults = {}
    for one in numbers:
        text = sent.get(one.name, one.usual).strip()
        if not text and one in (DAYS, AUDIT):
            found[one.name] = None
            continue
        try:
            found[one.name] = int(text) if one.is_whole else _number(text)
        except ValueError:
            faults[one.name] = f"{text[:40]!r} is no number" if text else "this needs a number"
    if faults:
        raise Unanswerable(faults)
    return found


def _number(text: str) -> float:
    """A number of a size that can be meant; a comma is a decimal point."""
    found = float(text.replace(",", "."))
    if not abs(found) <= _LARGEST:
        raise ValueError(text)
    return found

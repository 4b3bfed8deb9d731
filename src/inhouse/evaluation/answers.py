"""Reading an evaluation: what one reference answered, beside the texts and their truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inhouse.core.errors import Conflict, NotFound
from inhouse.datasets.example import Example
from inhouse.datasets.snapshot import load_examples
from inhouse.db.unit import ReadUnit
from inhouse.evaluation import records
from inhouse.evaluation.records import EvaluationRecord
from inhouse.evaluation.report import Item, Report, report, worst
from inhouse.tasks.catalog import Catalog

_SHAPES = {"label": "choice", "value": "score", "spans": "spans", "text": "text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a reference answered to the examples of the split, in the split's order."""

    reference: str
    kind: str
    labels: tuple[str, ...]
    items: Sequence[Item]
    examples: Sequence[Example]

    def report(self) -> Report:
        """What the answers look like beside the truth."""
        return report(self.kind, self.labels, self.items, [e.target for e in self.examples])


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """An answer that is not fully right, with what was asked and what is true."""

    position: int
    input: Any
    target: Mapping[str, Any]
    output: Mapping[str, Any] | None
    probabilities: Mapping[str, float] | None
    confidence: float | None
    score: float
    error_code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MistakePage:
    """``items`` from ``offset`` on, the worst first; ``total`` mistakes among ``n`` answers."""

    reference: str
    items: Sequence[Mistake]
    offset: int
    total: int
    n: int


def load(
    unit: ReadUnit, record: EvaluationRecord, catalog: Catalog, reference: str | None = None
) -> Answers:
    """The answers of one reference, of the candidate when None.

    Raises NotFound (``evaluation-reference``) for a reference that was not asked, Conflict
    (``examples-erased``) when examples of the split are gone.
    """
    named = reference or record.candidate
    asked = [result["reference"] for result in record.results or ()]
    if named not in asked:
        raise NotFound(
            f"evaluation {record.id} holds no answers of {named}",
            code="evaluation-reference",
            hint=f"it asked {', '.join(asked) or 'nobody yet'}",
        )
    rows = records.items(unit, record.id, named)
    examples = load_examples(unit, record.snapshot_id, splits=(record.split,))
    if len(rows) != len(examples):
        raise Conflict(
            f"the split had {len(rows)} examples and has {len(examples)} now",
            code="examples-erased",
            hint="the scores stand; evaluate again for what the answers look like",
        )
    asked_then = (record.task, record.task_revision)
    spec = next((s for s in catalog.all() if (s.name, s.revision) == asked_then), None)
    return Answers(
        reference=named,
        kind=_shape(examples) if spec is None else str(spec.kind),
        labels=() if spec is None else spec.labels,
        items=[_item(row) for row in rows],
        examples=examples,
    )


def mistakes(answers: Answers, *, offset: int = 0, limit: int = 20) -> MistakePage:
    """One page of what was answered wrong, the worst first."""
    found = worst(answers.items)
    return MistakePage(
        reference=answers.reference,
        items=[_mistake(answers, item) for item in found[offset : offset + limit]],
        offset=offset,
        total=len(found),
        n=len(answers.items),
    )


def _mistake(answers: Answers, item: Item) -> Mistake:
    example = answers.examples[item.position]
    return Mistake(
        position=item.position,
        input=example.input,
        target=example.target,
        output=item.output,
        probabilities=item.probabilities,
        confidence=item.confidence,
        score=item.score,
        error_code=item.error_code,
    )


def _item(row: Mapping[str, Any]) -> Item:
    return Item(
        position=row["position"],
        output=row["output"],
        probabilities=row["probabilities"],
        score=row["score"],
        error_code=row["error_code"],
    )


def _shape(examples: Sequence[Example]) -> str:
    """The kind of a task that is declared otherwise by now, told from a target."""
    target = examples[0].target if examples else {}
    keys = [key for key in _SHAPES if set(target) == {key}]
    return _SHAPES[keys[0]] if keys else "json"

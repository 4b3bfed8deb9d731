"""Looking for drift: are the calls still like what their model was made from?

For every model that answers a task, and the own version that waits to: the inputs of the task's
newest calls beside the version's training examples, and its newest answers beside those that it
gave to the frozen test split. Where there is no such thing (an upstream), both are compared with
the first calls that the model answered. What is found is stored, distances with their thresholds;
no text is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Final, Protocol

from inhouse.core.clock import Clock
from inhouse.core.errors import Conflict, NotFound, Unavailable
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.core.states import VersionStatus
from inhouse.db.unit import Database, ReadUnit
from inhouse.inference.engines.nearness import Direction
from inhouse.jobs.handler import JobContext
from inhouse.monitoring import drift_records, drift_samples, traffic
from inhouse.monitoring.drift_answers import answers
from inhouse.monitoring.drift_distance import LEAST_ITEMS, Gap, Side, learned, texts, together
from inhouse.monitoring.drift_records import DriftRecord, Looked
from inhouse.monitoring.drift_samples import Calls, Output
from inhouse.registry import routes, versions
from inhouse.registry.versions import Version
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskSpec

BACK: Final = timedelta(days=7)
"""How far back the newest calls are looked for."""
_BY_MEANING: Final = 300
_WAITING: Final = (VersionStatus.CANDIDATE, VersionStatus.ACTIVE)
_TOO_FEW: Final = f"fewer than {LEAST_ITEMS} on one of the sides"


class TextEncoder(Protocol):
    """What compares texts by meaning."""

    name: str

    def vectors(self, texts: Sequence[str]) -> list[Any]: ...


Opened = Callable[[], TextEncoder | None]


@dataclass(frozen=True, slots=True)
class _Before:
    """What a model is compared with."""

    texts: Sequence[str]
    texts_are: str
    answers: Sequence[Output]
    answers_are: str


@dataclass(frozen=True, slots=True)
class _Samples:
    reference: str
    before: _Before
    inputs: Calls
    answers: Calls


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """Handler of the job ``drift``. Its result is {looked, drifted: [references], skipped}:
    ``skipped`` says of models why there was nothing to compare. ``open_encoder`` raises Unavailable
    or Conflict where there is none; then nothing is compared by meaning."""

    database: Database
    clock: Clock
    catalog: Catalog
    open_encoder: Callable[[], TextEncoder]

    def __call__(self, job: JobContext, arguments: dict[str, Any]) -> Mapping[str, Any]:
        task = arguments.get("task")
        specs = self.catalog.all() if task is None else [self.catalog.get(task)]
        found: list[DriftRecord] = []
        skipped: dict[str, str] = {}
        encoder = self.encoder()
        for number, spec in enumerate(specs):
            job.check()
            job.progress(number, len(specs), spec.name)
            records, left_out = self.look(spec, encoder)
            found += records
            skipped |= {f"{spec.name}: {name}": why for name, why in left_out.items()}
        drifted = [record.reference for record in found if record.drifted]
        return {"looked": len(found), "drifted": drifted, "skipped": skipped}

    def look(
        self, spec: TaskSpec, encoder: Opened | None = None
    ) -> tuple[list[DriftRecord], dict[str, str]]:
        """Look at every model of a task and store what is found, with one moment for all; and, by
        reference, why there was nothing to compare. ``encoder``: where somebody looks at several
        tasks, that of the look before."""
        found, skipped, at = [], {}, self.clock.now()
        encoder = encoder or self.encoder()
        with self.database.read() as unit:
            names = self._references(unit, spec)
        for name in names:
            with self.database.read() as unit:
                samples = self._samples(unit, spec, name)
            inputs, by = _inputs(samples, encoder)
            outputs = _outputs(spec, samples)
            if inputs.why_not and outputs.why_not:
                skipped[name] = inputs.why_not
                continue
            with self.database.write() as write:
                record = drift_records.add(
                    write,
                    task=spec.name,
                    reference=name,
                    calls=samples.inputs.calls,
                    inputs=inputs,
                    outputs=outputs,
                    encoder=by,
                    at=at,
                )
            found.append(record)
        return found, skipped

    def encoder(self) -> Opened:
        """What compares by meaning, opened when it is first needed and then kept."""

        @cache
        def opened() -> TextEncoder | None:
            try:
                return self.open_encoder()
            except (Unavailable, Conflict):
                return None

        return opened

    def _references(self, unit: ReadUnit, spec: TaskSpec) -> list[str]:
        """Models that answered, those on the route, and the newest own version that may come."""
        now = self.clock.now()
        counted = traffic.of_tasks(unit, now - BACK, now, spec.name).get(spec.name)
        named = [one.reference for one in counted.references] if counted else []
        route = routes.current(unit, spec.name) or routes.implicit(spec.name, spec.chain)
        named += [name for name in (route.incumbent, route.candidate) if name]
        own = [v for v in versions.list_versions(unit, spec.name) if v.status in _WAITING]
        named += [version.reference for version in own[:1]]
        return list(dict.fromkeys(named))

    def _samples(self, unit: ReadUnit, spec: TaskSpec, reference: str) -> _Samples:
        version = _version(unit, spec, reference)
        begin = drift_samples.first(unit, spec, reference)
        learnt = drift_samples.trained_on(unit, version) if version else []
        judged = drift_samples.evaluated(unit, spec, version) if version else []
        told = f"the first {begin.calls} calls that {reference} answered"
        before = _Before(
            texts=learnt or begin.texts,
            texts_are=f"{len(learnt)} of its training examples" if learnt else told,
            answers=judged or begin.answers,
            answers_are=f"its {len(judged)} answers to the test split" if judged else told,
        )
        since = self.clock.now() - BACK
        after = since if begin.until is None else max(since, begin.until)
        return _Samples(
            reference,
            before,
            drift_samples.newest(unit, spec, since=since if learnt else after),
            drift_samples.newest(unit, spec, since=since if judged else after, reference=reference),
        )


def _version(unit: ReadUnit, spec: TaskSpec, reference: str) -> Version | None:
    """The own version, if the reference is one of the task as it is declared now."""
    parsed = parse_reference(reference)
    if parsed.kind is not ReferenceKind.VERSION:
        return None
    try:
        version = versions.get(unit, parsed.name, parsed.number)
    except NotFound:
        return None
    return version if version.task_revision == spec.revision else None


def _inputs(samples: _Samples, encoder: Opened) -> tuple[Looked, str | None]:
    """And the name of what compared by meaning, if something did."""
    before, now = samples.before.texts, samples.inputs.texts
    gaps, by = texts(before, now), None
    found = encoder() if min(len(before), len(now)) >= 2 * LEAST_ITEMS else None
    if found is not None:
        gaps.append(_meaning(found, before[:_BY_MEANING], now[:_BY_MEANING]))
        by = found.name
    return _looked(together(gaps), samples.before.texts_are), by


def _meaning(encoder: TextEncoder, before: Sequence[str], now: Sequence[str]) -> Gap | None:
    return learned("meaning", encoder.vectors(before), encoder.vectors(now), Direction)


def _outputs(spec: TaskSpec, samples: _Samples) -> Looked:
    side = together(answers(spec, samples.before.answers, samples.answers.answers))
    return _looked(side, samples.before.answers_are)


def _looked(side: Side, against: str) -> Looked:
    return Looked(side=side, against=against, why_not="" if side.gaps else _TOO_FEW)

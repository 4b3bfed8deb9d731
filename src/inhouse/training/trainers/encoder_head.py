"""``encoder-head``: a frozen sentence encoder with a calibrated linear head.

The base holds the encoder's export to ONNX (``inference.engines.encoder_export``). The head is
fitted on what that export says, so that training and serving see the same vectors.

The artifact holds ``encoder.onnx`` and ``tokenizer.json`` (the export), ``head.safetensors`` with
``weight`` [k, d], ``bias`` [k] and ``temperature`` [1] in float32 (k = labels, 1 for a score), and
``head.json`` with ``kind``, ``task``, ``task_revision``, and ``labels`` or ``low`` and ``high``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from pydantic import Field

from inhouse.datasets.example import Example
from inhouse.inference.engines.encoder import Encoder
from inhouse.tasks.outputs import from_probabilities
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.training.preflight import Host, Preflight, check_examples, check_host
from inhouse.training.trainers.base import (
    Probe,
    RecipeSettings,
    TrainedArtifact,
    TrainingFailed,
    Variant,
    Work,
)
from inhouse.training.trainers.folds import grouped_folds, quantile_strata, usable_count
from inhouse.training.trainers.heads import (
    Head,
    Rows,
    fit_choice,
    fit_score,
    softmax,
    strata_of,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Penalty = Annotated[float, Field(gt=0)]

_MODULES = ("numpy", "onnxruntime", "safetensors", "sklearn", "tokenizers")
_DISK_BYTES = 200_000_000
_BATCH = 32
_STRATA = 5
_PROBE_ROWS = 24
_PROBE_TEXTS = ("A.", "¿Qué? — 漢字 \u202eabc", "word " * 2000)
_ENCODED, _FITTED, _ALL = 60.0, 97.0, 100.0


class EncoderHeadSettings(RecipeSettings):
    """Settings of ``encoder-head.v1``."""

    base: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "minilm-l6"
    """Sentence encoder in the ModelStore."""
    penalties: tuple[Penalty, ...] = Field(
        (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), min_length=1, max_length=50
    )
    """Strengths of the L2 penalty that cross-validation chooses from: 1/C of a choice's logistic
    regression, alpha of a score's ridge regression."""
    class_weight: Literal["choose", "none", "balanced"] = "choose"
    """Of a choice: count labels as they are, to equal shares, or as cross-validation says."""
    folds: int = Field(5, ge=2, le=20)
    """Folds of the cross-validation; fewer where a label has fewer groups."""


class EncoderHead:
    """The trainer behind ``encoder-head.v1``."""

    def check(
        self, spec: TaskSpec, examples: Sequence[Example], host: Host, settings: EncoderHeadSettings
    ) -> Preflight:
        """Extras, disk, and enough examples of every label."""
        found = check_host(host, modules=_MODULES, extra="train", disk_bytes=_DISK_BYTES)
        return check_examples(spec, examples) if found.ok else found

    def train(self, work: Work[EncoderHeadSettings]) -> TrainedArtifact:
        """Encode, fit, save; see the module."""
        started = time.monotonic()
        examples = sorted(work.examples, key=lambda each: (each.content_hash, each.group))
        files = work.folder / "artifact"
        files.mkdir()
        dtype = _take_encoder(work.base, files)
        encoder = Encoder(files, threads=work.settings.threads)
        vectors = _encode(work, encoder, [example.input for example in examples])
        head = _fit(work, examples, vectors)
        work.report(_FITTED, _ALL, "saving")
        _save(work.spec, head, files)
        metrics = {
            **{name: round(value, 6) for name, value in head.metrics.items()},
            "temperature": head.temperature,
            "examples": len(examples),
            "seconds": round(time.monotonic() - started, 2),
        }
        return TrainedArtifact(
            files=files,
            variants=(_variant(files, dtype),),
            metrics=metrics,
            metadata=_describe(work.spec),
            probe=_probe(work.spec, encoder, head, examples),
        )


def _take_encoder(base: Path, files: Path) -> str:
    """Copy the exported encoder of the base, and say its dtype."""
    for name in ("encoder.onnx", "tokenizer.json"):
        if not (base / name).is_file():
            raise TrainingFailed(f"the base in {base.name} is no exported encoder: no {name}")
        shutil.copyfile(base / name, files / name)
    manifest = msgspec.json.decode((base / "manifest.json").read_bytes())
    return str(manifest["variants"][0]["dtype"])


def _encode(work: Work[Any], encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float64]:
    """Vectors [n, d] in the order of the texts."""
    import numpy as np

    parts = []
    for start in range(0, len(texts), _BATCH):
        work.check()
        work.report(start / len(texts) * _ENCODED, _ALL, "encoding the examples")
        parts.append(encoder.embed(texts[start : start + _BATCH]))
    return np.concatenate(parts).astype(np.float64)


def _fit(work: Work[EncoderHeadSettings], examples: list[Example], vectors: Any) -> Head:
    import numpy as np

    spec, settings = work.spec, work.settings
    targets = strata_of(spec, [example.target for example in examples])
    weights = np.array([example.weight for example in examples])
    choice = spec.kind is TaskKind.CHOICE
    strata = targets if choice else quantile_strata(targets, _STRATA)
    groups = [example.group for example in examples]
    count = usable_count(groups, targets if choice else [0] * len(groups), settings.folds)
    rows = Rows(
        vectors=vectors,
        targets=np.array(targets),
        weights=weights / weights.mean(),
        folds=np.array(grouped_folds(groups, strata, count, settings.seed)),
    )

    def step(done: int, total: int) -> None:
        work.check()
        at = _ENCODED + done / total * (_FITTED - _ENCODED)
        work.report(at, _ALL, "fitting the head")

    if not choice:
        return fit_score(spec, rows, penalties=settings.penalties, step=step)
    balances = {"choose": (False, True), "none": (False,), "balanced": (True,)}
    return fit_choice(
        spec,
        rows,
        penalties=settings.penalties,
        balances=balances[settings.class_weight],
        step=step,
    )


def _save(spec: TaskSpec, head: Head, files: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    tensors = {
        "weight": np.ascontiguousarray(head.weight, dtype=np.float32),
        "bias": np.ascontiguousarray(head.bias, dtype=np.float32),
        "temperature": np.array([head.temperature], dtype=np.float32),
    }
    save_file(tensors, files / "head.safetensors")
    (files / "head.json").write_bytes(msgspec.json.encode(_describe(spec)))


def _describe(spec: TaskSpec) -> dict[str, Any]:
    facts: dict[str, Any] = {"task": spec.name, "task_revision": spec.revision, "kind": spec.kind}
    if spec.kind is TaskKind.CHOICE:
        return {**facts, "labels": list(spec.labels)}
    return {**facts, "low": spec.low, "high": spec.high}


def _variant(files: Path, dtype: str) -> Variant:
    names = sorted(
        path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()
    )
    return Variant(id=f"onnx-{dtype}", format="onnx", dtype=dtype, files=tuple(names))


def _probe(
    spec: TaskSpec, encoder: Encoder, head: Head, examples: Sequence[Example]
) -> tuple[Probe, ...]:
    """Texts spread over the examples, and some odd ones, each encoded alone as a call would be."""
    import numpy as np

    stride = max(1, len(examples) // _PROBE_ROWS)
    texts = [example.input for example in examples[::stride][:_PROBE_ROWS]]
    vectors = [encoder.embed([text])[0] for text in (*texts, *_PROBE_TEXTS)]
    scores = head.scores(np.array(vectors, dtype=np.float64))
    found = []
    for text, row in zip((*texts, *_PROBE_TEXTS), scores, strict=True):
        if spec.kind is TaskKind.SCORE:
            value = float(np.clip(row[0], spec.low, spec.high))
            found.append(Probe(text=text, output={"value": value}))
            continue
        shares = softmax(row[None, :] / head.temperature)[0]
        probabilities = dict(zip(spec.labels, map(float, shares), strict=True))
        output = from_probabilities(spec, probabilities)
        found.append(Probe(text=text, output=output, probabilities=probabilities))
    return tuple(found)

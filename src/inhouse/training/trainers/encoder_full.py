"""``encoder``: a sentence encoder fine-tuned with its head, for choices and scores.

Cross-validation by groups comes first: folds are held out, the number of epochs is the one whose
held-out answers are best, a choice's temperature is fitted on them, and int8 is tried on them. Then
one network learns from everything, for that many epochs. The weights are the moving average over
the last steps (Polyak and Juditsky 1992). A fine-tune that is not clearly better than the base as
it is with a linear head is not made: that start is the model, with 0 epochs (``encoder_choose``).

The artifact holds ``model.onnx`` (inputs input_ids, attention_mask, token_type_ids, all int64
[n, t]; output scores, float32 [n, k], logits or the value), ``model.int8.onnx`` where it was worth
it, ``tokenizer.json``, and ``model.json`` with ``kind``, ``task``, ``task_revision``, ``labels`` or
``low`` and ``high``, ``temperature``, ``max_pieces`` and ``serves`` (``fp32`` or ``int8``).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from inhouse.core.hashing import digest_of, sha256_file
from inhouse.datasets.example import Example
from inhouse.tasks.scoring import figures
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.training.preflight import (
    Host,
    Preflight,
    check_examples,
    check_host,
    check_time,
)
from inhouse.training.trainers.base import TrainedArtifact, Work
from inhouse.training.trainers.encoder_choose import cross_validate, head_of, outputs_of
from inhouse.training.trainers.encoder_settings import (
    EncoderFullSettings,
    estimate,
    rounds_of,
    sized,
)
from inhouse.training.trainers.encoder_texts import Texts
from inhouse.training.trainers.folds import grouped_folds, quantile_strata, usable_count
from inhouse.training.trainers.heads import strata_of

if TYPE_CHECKING:
    from inhouse.training.trainers.encoder_fit import Data, Fitting, Part
    from inhouse.training.trainers.encoder_net import Net

_MODULES = ("numpy", "onnx", "onnxruntime", "sklearn", "tokenizers", "torch", "transformers")
_DISK_BYTES = 1_000_000_000
_STRATA = 5
_PROBE_ROWS = 24
_PROBE_TEXTS = ("A.", "¿Qué? — 漢字 \u202eabc", "word " * 2000)
_FITTED, _ALL = 95.0, 100.0


class EncoderFull:
    """The trainer behind ``encoder.v1``."""

    def check(
        self, spec: TaskSpec, examples: Sequence[Example], host: Host, settings: EncoderFullSettings
    ) -> Preflight:
        """Extras, disk, enough examples of every label, and time."""
        found = check_host(host, modules=_MODULES, extra="train", disk_bytes=_DISK_BYTES)
        if found.ok:
            found = check_examples(spec, examples)
        if not found.ok:
            return found
        return check_time(estimate(examples, settings), settings.max_seconds)

    def train(self, work: Work[EncoderFullSettings]) -> TrainedArtifact:
        """Cross-validate, fit, export, compare; see the module."""
        from inhouse.training.trainers import encoder_variants as variants
        from inhouse.training.trainers.encoder_fit import FINAL, Fitting, Part
        from inhouse.training.trainers.encoder_net import check_base

        started = time.monotonic()
        work = replace(work, settings=sized(work.settings, len(work.examples)))
        settings, spec = work.settings, work.spec
        _prepare(settings)
        check_base(work.base, settings.max_tokens)
        examples = sorted(work.examples, key=lambda each: (each.content_hash, each.group))
        texts = [example.input for example in examples]
        data = _data(work, examples, texts)
        outputs = len(spec.labels) if spec.kind is TaskKind.CHOICE else 1
        fitting = Fitting(work, data, key=_key(work, examples), outputs=outputs)
        folds = _folds(work, examples, data)
        final = Part(name=FINAL, rows=tuple(range(len(examples))), held=(), epochs=settings.epochs)
        fitting.plan([*folds, final])
        facts = _describe(spec, settings)

        def look(net: Net) -> dict[str, float]:
            held = folds[0].held
            return variants.compare_held(work, net, facts, texts, held, data.figure)

        chosen = cross_validate(spec, fitting, data, folds, settings.seed, look)
        fitting.drop_epochs(final, chosen.epochs)
        if chosen.epochs:
            measured = fitting.kept.found
            net = fitting.fit(replace(final, epochs=chosen.epochs))
            net.swap()
        else:
            work.report(_FITTED, _ALL, "measuring the start")
            measured = look(_start(work, fitting, data, folds[0]))
            net = _start(work, fitting, data, final)
        work.report(_FITTED, _ALL, "exporting and measuring")
        files = work.folder / "artifact"
        facts = {**facts, "temperature": chosen.temperature}
        variants.write(net, work.base, facts, files)
        forms, measured = variants.choose(work, files, facts, texts, data.figure, measured)
        work.check()
        metrics = {
            **chosen.metrics,
            **measured,
            "examples": float(len(examples)),
            "seconds": round(time.monotonic() - started, 2),
        }
        return TrainedArtifact(
            files=files,
            variants=forms,
            metrics=metrics,
            metadata=facts,
            probe=variants.probes(work, net, files, forms, _probe_texts(texts)),
        )


def _start(work: Work[EncoderFullSettings], fitting: Fitting, data: Data, part: Part) -> Net:
    """The base as it is, with the linear head of a part's rows."""
    from inhouse.training.trainers.encoder_net import Net

    head = head_of(work.spec, data, fitting.vectors(), part)
    net = Net(work.base, len(head.bias), frozen_layers=0, decay=0.0)
    net.put_head(head.weight, head.bias)
    net.evaluate()
    return net


def _prepare(settings: EncoderFullSettings) -> None:
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True)


def _data(work: Work[EncoderFullSettings], examples: Sequence[Example], texts: list[str]) -> Data:
    import numpy as np

    from inhouse.training.trainers.encoder_fit import Data

    spec, settings = work.spec, work.settings
    work.report(0.0, _ALL, "reading the examples")
    targets = strata_of(spec, [example.target for example in examples])
    weights = np.array([example.weight for example in examples])
    choice = spec.kind is TaskKind.CHOICE
    if choice and settings.label_weights == "balanced":
        counts = Counter(targets)
        weights = weights * np.array([1.0 / counts[target] for target in targets])

    def figure(rows: Sequence[int], answers: Any) -> float:
        name = "macro_f1" if spec.kind is TaskKind.CHOICE else "pearson"
        targets = [examples[row].target for row in rows]
        return figures(spec, outputs_of(spec, answers), targets)[name]

    return Data(
        texts=Texts(work.base, texts, settings.max_tokens),
        groups=tuple(example.group for example in examples),
        targets=np.array(targets),
        shares=shares_of(spec, examples, settings.soften) if choice else np.zeros((0, 0)),
        weights=weights / weights.mean(),
        figure=figure,
    )


def shares_of(spec: TaskSpec, examples: Sequence[Example], soften: float) -> Any:
    """The label of an example, less its doubt, which goes to all labels alike; [n, k]."""
    import numpy as np

    doubts = soften * (1.0 - np.array([example.quality for example in examples]))
    shares = np.repeat(doubts[:, None] / len(spec.labels), len(spec.labels), axis=1)
    labels = [spec.labels.index(example.target["label"]) for example in examples]
    shares[np.arange(len(examples)), labels] += 1.0 - doubts
    return shares


def _folds(work: Work[EncoderFullSettings], examples: Sequence[Example], data: Data) -> list[Part]:
    """The parts of the cross-validation: as many as are to be held out."""
    from inhouse.training.trainers.encoder_fit import Part

    settings, targets = work.settings, list(data.targets)
    choice = work.spec.kind is TaskKind.CHOICE
    strata = targets if choice else quantile_strata(targets, _STRATA)
    groups = data.groups
    count = usable_count(groups, targets if choice else [0] * len(groups), settings.folds)
    dealt = grouped_folds(groups, strata, count, settings.seed)
    rounds = rounds_of(len(examples), count, settings.held_out)
    return [
        Part(
            name=f"fold {fold + 1} of {rounds}",
            rows=tuple(row for row, its in enumerate(dealt) if its != fold),
            held=tuple(row for row, its in enumerate(dealt) if its == fold),
            epochs=settings.epochs,
        )
        for fold in range(rounds)
    ]


def _describe(spec: TaskSpec, settings: EncoderFullSettings) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "task": spec.name,
        "task_revision": spec.revision,
        "kind": spec.kind,
        "max_pieces": settings.max_tokens,
        "temperature": 1.0,
    }
    if spec.kind is TaskKind.CHOICE:
        return {**facts, "labels": list(spec.labels)}
    return {**facts, "low": spec.low, "high": spec.high}


def _key(work: Work[EncoderFullSettings], examples: Sequence[Example]) -> str:
    """Names everything that decides what the weights become."""
    settings = work.settings.model_dump(mode="json")
    base = sha256_file(work.base / "model.safetensors")
    content = [[example.content_hash, example.group] for example in examples]
    return digest_of([work.spec.revision, settings, base, content])


def _probe_texts(texts: Sequence[str]) -> list[str]:
    """Texts spread over the examples, and some odd ones."""
    stride = max(1, len(texts) // _PROBE_ROWS)
    return [*texts[::stride][:_PROBE_ROWS], *_PROBE_TEXTS]

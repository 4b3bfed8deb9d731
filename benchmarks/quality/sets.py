"""The data sets: their rows, tasks and bars, and the settings of ``encoder.v1`` on them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.report import bench_data
from inhouse.core.hashing import digest_of
from inhouse.datasets.example import Example
from inhouse.settings import Settings, TaskSettings
from inhouse.tasks.catalog import load_catalog
from inhouse.tasks.spec import TaskKind, TaskSpec

AGREED = "accuracy_all_agree"
_LEVELS = (("negative", -2.0), ("neutral", 0.0), ("positive", 2.0))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A text, what is right, what must not straddle splits, and the share of annotators agreed."""

    text: str
    target: Mapping[str, Any]
    group: str
    split: str
    agreed: float = 1.0

    @property
    def learned(self) -> bool:
        """Whether it may be learned from: the train and valid rows."""
        return self.split != "test"


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set as a task. ``bars``: the least of the mean of the seeds, by figure; the first is
    the main one. ``overrides``: settings of ``encoder.v1`` that differ from its defaults; chosen on
    train and valid rows. ``is_sentiment``: whether a sentiment lexicon can say anything."""

    name: str
    title: str
    spec: TaskSpec
    rows: tuple[Row, ...]
    bars: Mapping[str, float]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    is_sentiment: bool = False

    @property
    def train(self) -> list[Row]:
        return [row for row in self.rows if row.learned]

    @property
    def test(self) -> list[Row]:
        return [row for row in self.rows if not row.learned]

    @property
    def digest(self) -> str:
        """Names the rows and the task."""
        rows = [[row.text, dict(row.target), row.group, row.split, row.agreed] for row in self.rows]
        return digest_of([self.spec.revision, rows])

    def examples(self) -> list[Example]:
        """The rows to learn from."""
        return [
            Example(
                input=row.text,
                target=dict(row.target),
                group=row.group,
                quality=row.agreed,
                split=row.split,
                origin={"kind": "import", "source": "benchmark", "row": number},
            )
            for number, row in enumerate(self.train)
        ]


def load(name: str) -> DataSet:
    """The data set of that name."""
    return _LOADERS[name]()


def _phrasebank() -> DataSet:
    rows = tuple(
        Row(
            text=row["text"],
            target={"label": row["label"]},
            group=row["text"],
            split=row["split"],
            agreed=float(row["agree"]) / 100,
        )
        for row in _csv("financial_phrasebank.csv")
    )
    return DataSet(
        name="phrasebank",
        title="PhraseBank (50Agree)",
        spec=_builtin("sentiment"),
        rows=rows,
        bars={"macro_f1": 0.80, AGREED: 0.95},
        is_sentiment=True,
    )


def _babe() -> DataSet:
    labels = {"0": "unbiased", "1": "biased"}
    rows = tuple(
        Row(
            text=row["text"],
            target={"label": labels[row["label"]]},
            group=row["text"],
            split=row["split"],
        )
        for row in _csv("babe_bias.csv")
    )
    return DataSet(
        name="babe", title="BABE", spec=_builtin("bias"), rows=rows, bars={"macro_f1": 0.81}
    )


def _nyt() -> DataSet:
    rows = tuple(
        Row(
            text=row["text"],
            target={"value": float(row["score"])},
            group=row["doc"],
            split=row["split"],
        )
        for row in _csv("nyt_editorial_sentiment.csv")
    )
    spec = TaskSpec(
        name="intensity",
        kind=TaskKind.SCORE,
        description="How strongly a sentence of an editorial feels, and in which direction",
        low=-4.0,
        high=4.0,
        levels=_LEVELS,
        prompt="What is the sentiment of the sentence? Answer with one word: negative, neutral, "
        "positive.\n\nSentence: {{ input }}\nSentiment:",
    )
    return DataSet(
        name="nyt",
        title="NYT editorials",
        spec=spec,
        rows=rows,
        bars={"pearson": 0.74},
        is_sentiment=True,
    )


def _leaning() -> DataSet:
    labels = ("left", "center", "right")
    path = bench_data() / "news" / "article_leaning.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as opened:
        found = [json.loads(line) for line in opened]
    rows = tuple(
        Row(
            text=f"{row['title']}. {row['text']}",
            target={"label": labels[int(row["label"])]},
            group=row["source"],
            split=row["split"],
        )
        for row in found
    )
    spec = TaskSpec(
        name="leaning",
        kind=TaskKind.CHOICE,
        description="The political leaning of a news article",
        labels=labels,
        prompt="What is the political leaning of the article? Answer with one word: "
        "{{ labels | join(', ') }}.\n\nArticle: {{ input }}\nLeaning:",
    )
    return DataSet(
        name="leaning",
        title="Article leaning, unseen outlets",
        spec=spec,
        rows=rows,
        bars={"macro_f1": 0.53},
        overrides={"epochs": 2},
    )


_LOADERS: Mapping[str, Callable[[], DataSet]] = {
    "phrasebank": _phrasebank,
    "babe": _babe,
    "nyt": _nyt,
    "leaning": _leaning,
}


def _csv(file: str) -> list[dict[str, str]]:
    with (bench_data() / "news" / file).open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def _builtin(task: str) -> TaskSpec:
    settings = Settings(tasks={task: TaskSettings(builtin=task, kind="choice")})
    return load_catalog(settings).get(task)

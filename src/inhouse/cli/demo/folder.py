"""The demo's project folder: made, resumed, or deleted when asked to."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from inhouse.cli.demo.plan import Plan
from inhouse.core.errors import Conflict, Invalid
from inhouse.core.hashing import digest_of
from inhouse.settings import FILE_NAME, STATE_FOLDER

GENERIC_PROMPT = """
Which label fits the text best? Answer with one of: {{ labels | join(", ") }}.

Text: {{ input }}
Label:"""
GENERIC_SCORE_PROMPT = """
Rate the text from {{ low }} to {{ high }}. Answer with the number only.

Text: {{ input }}
Rating:"""
ROLLOUT = """
[tasks.sentiment.rollout]
# For a demo of minutes: fewer calls a step, no waits, a bake period of seconds. The chances of a
# mistake are those of every rollout. The demo starts it itself, so nothing has to be proposed.
automation = "off"
margin = 0.1
min_success = 0.9
max_p95_s = 0
first_calls = 10
step_calls = 10
dwell_s = 0
horizon = 3000
bake_s = 3
guardrails = ["success", "correct"]
observed = ["p95", "p99"]
"""
SENTIMENT = {"negative", "neutral", "positive"}
EMBEDDED = "embedded/smollm2-135m"


@dataclass(frozen=True, slots=True)
class General:
    """Which general model the demo asks: the embedded one, or a model of a server."""

    base_url: str = ""
    model: str = ""

    @property
    def reference(self) -> str:
        return f"general/{self.model}" if self.base_url else EMBEDDED


@dataclass(slots=True)
class Progress:
    """What is done so far: by step, what later steps need of it. Kept in ``demo.json``."""

    path: Path
    about: str
    steps: dict[str, Any] = field(default_factory=dict)

    def done(self, step: str) -> Any:
        """What a finished step left; None while it is not finished."""
        return self.steps.get(step)

    def finish(self, step: str, value: Any) -> None:
        self.steps[step] = value
        self.path.write_bytes(msgspec.json.encode({"about": self.about, "steps": self.steps}))


def identity(plan: Plan, general: str) -> str:
    """What tells a demo from others: a folder is resumed by the same one only."""
    return digest_of([plan.source, [t.text for t in plan.stream + plan.labelled], general])


def prepare(folder: Path, about: str, declared: str, *, fresh: bool) -> Progress:
    """Make the folder with its ``inhouse.toml``, or take it up where it was left.

    Raises Conflict when it holds something else, saying what ``--fresh`` would delete.
    """
    path = folder / STATE_FOLDER / "demo.json"
    if fresh and folder.exists():
        _delete(folder, path)
    if path.exists():
        stored = msgspec.json.decode(path.read_bytes())
        if stored["about"] != about:
            raise Conflict(
                f"{folder} holds another demo",
                code="demo-folder",
                hint=f"--fresh deletes it first: {contents(folder)}",
            )
        return Progress(path, about, stored["steps"])
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(
            f"{folder} is not empty and holds no demo",
            code="demo-folder",
            hint="name another --dir",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).write_text(declared, encoding="utf-8")
    progress = Progress(path, about)
    progress.finish("folder", str(folder))
    return progress


def _delete(folder: Path, marker: Path) -> None:
    if not marker.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} holds no demo, so --fresh does not delete it", code="demo-folder")
    shutil.rmtree(folder)


def contents(folder: Path) -> str:
    """How much lies in a folder, in words; nothing for one that is empty or missing."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return f"{len(files)} files, {size / 1e6:.0f} MB" if files else ""


def settings_of(plan: Plan, general: General) -> str:
    """The ``inhouse.toml`` of the story."""
    lines = ["# Written by `inhouse demo`; go on with: inhouse --dir THIS-FOLDER serve", ""]
    if general.base_url:
        lines += ["[upstreams.general]", f"base_url = {_quoted(general.base_url)}", ""]
    lines += ["[tasks.sentiment]", f'kind = "{plan.kind}"', f'chain = ["{general.reference}"]']
    lines += ["timeout_s = 30", *_question(plan)]
    return "\n".join(lines) + ROLLOUT


def _question(plan: Plan) -> list[str]:
    """The built-in task where it fits, else one that asks for the file's own labels or scores."""
    if plan.kind == "choice":
        if set(plan.labels) == SENTIMENT:
            return ['builtin = "sentiment"']
        labels = ", ".join(_quoted(label) for label in plan.labels)
        return [f"labels = [{labels}]", f'prompt = """{GENERIC_PROMPT}"""']
    if (plan.low, plan.high) == (-1.0, 1.0):
        return ['builtin = "sentiment"']
    middle = (plan.low + plan.high) / 2
    return [
        f"range = [{plan.low}, {plan.high}]",
        f"levels = {{ low = {plan.low}, medium = {middle}, high = {plan.high} }}",
        f'prompt = """{GENERIC_SCORE_PROMPT}"""',
    ]


def _quoted(text: str) -> str:
    if any(ord(character) < 32 for character in text):
        raise Invalid(f"the label {text!r} holds a control character", code="demo-data")
    return msgspec.json.encode(text).decode()

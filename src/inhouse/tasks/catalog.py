"""From declared ``[tasks.*]`` tables to checked ``TaskSpec`` values."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from inhouse.core.errors import Invalid, NotFound
from inhouse.core.references import Reference, parse_reference
from inhouse.settings import FILE_NAME, OnFailure, Settings, TaskSettings
from inhouse.settings.file import place_of
from inhouse.tasks.outputs import check
from inhouse.tasks.prompts import compile_prompt
from inhouse.tasks.spec import OnLong, TaskKind, TaskSpec, Unit
from inhouse.tasks.structures import check_schema

_BUILTIN = files("inhouse.tasks") / "builtin"


class Catalog:
    """The tasks of an installation, by name."""

    def __init__(self, specs: Iterable[TaskSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}

    def get(self, name: str) -> TaskSpec:
        """The task of that name. Raises NotFound that lists the names there are."""
        spec = self._specs.get(name)
        if spec is None:
            raise NotFound(
                f"there is no task {name!r}",
                code="task-not-found",
                hint="declared: " + (", ".join(sorted(self._specs)) or "none; see inhouse.toml"),
            )
        return spec

    def replace(self, other: Catalog) -> None:
        """Take over the tasks of another catalog, all at once."""
        self._specs = other._specs

    def all(self) -> list[TaskSpec]:
        return sorted(self._specs.values(), key=lambda spec: spec.name)


def load_catalog(settings: Settings) -> Catalog:
    """Every declared task. Raises Invalid that names the task and the key at fault."""
    return Catalog(_load(name, table, settings) for name, table in settings.tasks.items())


@cache
def builtin_names() -> tuple[str, ...]:
    """Names of the tasks in the box."""
    return tuple(sorted(Path(f.name).stem for f in _BUILTIN.iterdir() if f.name.endswith(".toml")))


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A task in the box. ``kinds``: those that it comes in, its own first."""

    name: str
    kinds: tuple[str, ...]
    description: str


def built_in() -> list[BuiltIn]:
    """The tasks in the box, by name."""
    boxes = [(name, _box(name)) for name in builtin_names()]
    return [
        BuiltIn(
            name=name,
            kinds=(box["kind"], *(kind for kind in box["kinds"] if kind != box["kind"])),
            description=box["shared"]["description"],
        )
        for name, box in boxes
    ]


def _load(name: str, table: TaskSettings, settings: Settings) -> TaskSpec:
    try:
        return _build(name, _resolve(table), settings)
    except Invalid as error:
        key = ("tasks", name, *error.message.partition(":")[0].split("."))
        where = place_of(settings.folder / FILE_NAME, key)
        message = f"{where}: tasks.{name}: {error.message}"
        raise Invalid(message, code=error.code, hint=error.hint) from None


def _resolve(table: TaskSettings) -> dict[str, Any]:
    """The declared keys over those of the built-in task, whose tables are by kind."""
    declared = {k: v for k, v in table.model_dump(by_alias=True).items() if v is not None}
    if table.builtin is None:
        return declared
    if table.builtin not in builtin_names():
        raise Invalid(
            f"builtin: there is no {table.builtin!r}",
            code="settings",
            hint="in the box: " + ", ".join(builtin_names()),
        )
    box = _box(table.builtin)
    kind = declared.get("kind", box["kind"])
    if kind not in box["kinds"]:
        raise Invalid(
            f"kind: {table.builtin!r} is no {kind}",
            code="settings",
            hint="it comes as " + ", ".join(box["kinds"]),
        )
    return {**box["shared"], "kind": kind, **box["kinds"][kind], **declared}


def _box(name: str) -> dict[str, Any]:
    return tomllib.loads((_BUILTIN / f"{name}.toml").read_text(encoding="utf-8"))


def _build(name: str, keys: Mapping[str, Any], settings: Settings) -> TaskSpec:
    kind = TaskKind(keys["kind"]) if "kind" in keys else None
    if kind is None or ("prompt" not in keys and kind is not TaskKind.TEXT):
        raise Invalid("needs kind and prompt, or builtin", code="settings")
    prompt = _prompt_text(keys.get("prompt", ""), settings.folder)
    compile_prompt(prompt)
    _check_judge(kind, settings.tasks[name].rollout.judge, settings)
    spec = TaskSpec(
        name=name,
        kind=kind,
        description=keys.get("description", ""),
        prompt=prompt,
        chain=_chain(keys.get("chain", ()), settings),
        unit=Unit(keys.get("unit", "request")),
        timeout_s=keys.get("timeout_s", 30.0),
        try_timeout_s=keys.get("try_timeout_s"),
        coalesce=keys.get("coalesce", False),
        max_input_tokens=keys.get("max_input_tokens", 2000),
        on_long=_on_long(kind, keys.get("on_long")),
        **_answers(kind, keys, settings.folder),
    )
    return _with_failure(spec, settings.tasks[name].on_failure)


_KEYS = {
    TaskKind.CHOICE: ("labels",),
    TaskKind.SCORE: ("range", "levels"),
    TaskKind.TEXT: (),
    TaskKind.SPANS: ("labels",),
    TaskKind.JSON: ("schema",),
}
_SAID = {TaskKind.JSON: "json", TaskKind.SPANS: "a spans task"}


def _answers(kind: TaskKind, keys: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the kind declares of its answers. Raises Invalid for a key of another kind."""
    known = {name for names in _KEYS.values() for name in names}
    foreign = [name for name in keys if name in known and name not in _KEYS[kind]]
    if foreign:
        said = _SAID.get(kind, f"a {kind}")
        raise Invalid(f"{foreign[0]}: {said} has none", code="settings")
    match kind:
        case TaskKind.CHOICE | TaskKind.SPANS:
            return {"labels": _labels(kind, keys)}
        case TaskKind.SCORE:
            return _score(keys)
        case TaskKind.JSON:
            return {"schema": check_schema(_schema(keys.get("schema"), folder))}
        case TaskKind.TEXT:
            return {}


def _labels(kind: TaskKind, keys: Mapping[str, Any]) -> tuple[str, ...]:
    labels = tuple(keys.get("labels", ()))
    distinct = len(set(labels)) == len(labels) and all(labels)
    if kind is TaskKind.CHOICE and (len(labels) < 2 or not distinct):
        raise Invalid("labels: a choice needs at least two different labels", code="settings")
    if not labels or not distinct:
        raise Invalid("labels: spans need at least one type, all different", code="settings")
    return labels


def _schema(declared: Any, folder: Path) -> Any:
    if not isinstance(declared, str):
        return declared
    path = folder / declared
    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise Invalid(f"schema: {path}: {error.strerror}", code="settings") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Invalid(f"schema: {path}: not JSON: {error}", code="settings") from None


def _on_long(kind: TaskKind, declared: str | None) -> OnLong:
    """Spans are counted in the text as sent: what is cut out of its middle would move them."""
    if kind is TaskKind.SPANS and declared == OnLong.WINDOW:
        raise Invalid("on_long: a spans task keeps the head or refuses", code="settings")
    return OnLong(declared or ("head" if kind is TaskKind.SPANS else "window"))


def _score(keys: Mapping[str, Any]) -> dict[str, Any]:
    low, high = keys.get("range", (0.0, 1.0))
    if not low < high:
        raise Invalid("range: the lowest value comes first", code="settings")
    levels = tuple(sorted(keys.get("levels", {}).items(), key=lambda level: level[1]))
    if any(not low <= value <= high for _, value in levels):
        raise Invalid("levels: every value lies in the range", code="settings")
    if len({value for _, value in levels}) < len(levels):
        raise Invalid("levels: every value is there once", code="settings")
    return {"low": float(low), "high": float(high), "levels": levels}


def _prompt_text(declared: str, folder: Path) -> str:
    if not declared.endswith((".jinja", ".txt", ".md")):
        return declared
    path = folder / declared
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Invalid(f"prompt: {path}: {error.strerror}", code="settings") from None
    except ValueError as error:  # not UTF-8, or a name that no file has
        raise Invalid(f"prompt: {path}: {error}", code="settings") from None


def _chain(declared: Iterable[str], settings: Settings) -> tuple[str, ...]:
    chain = tuple(declared)
    for text in chain:
        if _declared("chain", text, settings).kind == "task":
            raise Invalid(f"chain: {text!r} is a task, not a model", code="settings")
    return chain


def _check_judge(kind: TaskKind, judge: str, settings: Settings) -> None:
    """What can be said of a judge before anything runs; whose answers it judges is known then."""
    if not judge:
        return
    reference = _declared("rollout.judge", judge, settings)
    if reference.kind not in ("upstream", "embedded"):
        raise Invalid(f"rollout.judge: {judge!r} is no general model", code="settings")
    if kind is TaskKind.TEXT:
        message = "rollout.judge: two right texts differ, no model can judge them so"
        raise Invalid(message, code="settings")


def _declared(key: str, text: str, settings: Settings) -> Reference:
    """The reference that a key holds. Raises Invalid for a model of no declared upstream."""
    try:
        reference = parse_reference(text)
    except Invalid as error:
        raise Invalid(f"{key}: {error.message}", code=error.code, hint=error.hint) from None
    if reference.kind == "upstream" and reference.name not in settings.upstreams:
        raise Invalid(
            f"{key}: {text!r} names no declared upstream",
            code="settings",
            hint="declared: " + (", ".join(sorted(settings.upstreams)) or "none"),
        )
    return reference


def _with_failure(spec: TaskSpec, declared: OnFailure | str | None) -> TaskSpec:
    if not isinstance(declared, OnFailure):
        return spec
    output = check(spec, declared.value)
    if output.get("spans") and spec.kind is TaskKind.SPANS:
        raise Invalid("on_failure: nobody knows the text, so no spans: value = []", code="settings")
    fields = {name: getattr(spec, name) for name in spec.__slots__ if name != "revision"}
    return TaskSpec(**{**fields, "on_failure": output})

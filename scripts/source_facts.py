"""What can be read off the source without running it: error codes, metrics, docs of attributes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "inhouse"
_METRICS = ("Counter", "Gauge", "Histogram")


@dataclass(frozen=True, kw_only=True)
class ErrorClass:
    """A class of the error tree, with what it inherits already filled in."""

    name: str
    status: int
    exit_code: int
    code: str
    doc: str


@dataclass(kw_only=True)
class ErrorCode:
    """A code, the class that carries it, and what its raisers say."""

    code: str
    kind: ErrorClass
    messages: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Metric:
    name: str
    kind: str
    labels: tuple[str, ...]
    doc: str
    module: str


def trees() -> Iterator[tuple[Path, ast.Module]]:
    """Every module of the product but its test material, parsed."""
    for path in sorted(SOURCE.rglob("*.py")):
        relative = path.relative_to(SOURCE)
        if relative.parts[0] != "testing":
            yield relative, ast.parse(path.read_text(encoding="utf-8"))


def error_classes() -> dict[str, ErrorClass]:
    """The error tree by class name."""
    nodes = [n for _, tree in trees() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    found: dict[str, ErrorClass] = {}
    grew = True
    while grew:
        before = len(found)
        for node in nodes:
            names = [base.id for base in node.bases if isinstance(base, ast.Name)]
            parent = next((found[name] for name in names if name in found), None)
            if node.name not in found and (parent or node.name == "InhouseError"):
                found[node.name] = _error_class(node, parent)
        grew = len(found) > before
    return found


def _error_class(node: ast.ClassDef, parent: ErrorClass | None) -> ErrorClass:
    own: dict[str, Any] = {
        name: value.value for name, value in _assigned(node) if isinstance(value, ast.Constant)
    }
    doc = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
    return ErrorClass(
        name=node.name,
        status=own.get("status", parent.status if parent else 500),
        exit_code=own.get("exit_code", parent.exit_code if parent else 1),
        code=own.get("default_code", parent.code if parent else "internal"),
        doc=doc,
    )


def error_codes() -> dict[str, ErrorCode]:
    """Every code that the product can answer with, by name."""
    classes = error_classes()
    found: dict[str, ErrorCode] = {}
    for kind in classes.values():
        found.setdefault(kind.code, ErrorCode(code=kind.code, kind=kind))
    parsed = list(trees())
    shared: dict[str, _Maker] = {}
    for _, tree in parsed:
        shared |= {name: made for name, made in _makers(tree, classes).items() if name == "error"}
    for path, tree in parsed:
        makers, named = shared | _makers(tree, classes), _named(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                _note(found, node, makers, classes, named)
            if isinstance(node, ast.Assign) and _is_code_table(node, path):
                for value in _constants(node.value):
                    found.setdefault(value, ErrorCode(code=value, kind=classes["FieldError"]))
    return found


def _is_code_table(node: ast.Assign, path: Path) -> bool:
    """api.app translates pydantic's names of errors by a table called _CODES."""
    return path.parts[0] == "api" and getattr(node.targets[0], "id", "") == "_CODES"


def _constants(node: ast.expr) -> list[str]:
    values = node.values if isinstance(node, ast.Dict) else []
    return [spoken(value) for value in values]


@dataclass(frozen=True)
class _Maker:
    """A function that makes or raises an error with a code that it is given."""

    kind: ErrorClass
    parameters: list[str]


def _makers(tree: ast.Module, classes: dict[str, ErrorClass]) -> dict[str, _Maker]:
    """Functions of a module with a parameter `code` that they hand to an error."""
    found = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        names = [a.arg for a in (*node.args.args, *node.args.kwonlyargs) if a.arg != "self"]
        calls = [n for n in ast.walk(node) if isinstance(n, ast.Call)]
        kinds = [classes[_name(n.func)] for n in calls if _name(n.func) in classes]
        if "code" in names and kinds:
            found[node.name] = _Maker(kinds[0], names)
    return found


def _note(
    found: dict[str, ErrorCode],
    call: ast.Call,
    makers: dict[str, _Maker],
    classes: dict[str, ErrorClass],
    named: dict[str, ast.expr],
) -> None:
    if isinstance(call.func, ast.Attribute) and _name(call.func.value) == "_log":
        return
    name = _name(call.func)
    maker = makers.get(name)
    given = {word.arg: word.value for word in call.keywords}
    if maker:
        given |= dict(zip(maker.parameters, call.args, strict=False))
    elif call.args:
        given.setdefault("message", call.args[0])
    kind = classes.get(name) or (maker.kind if maker else None)
    if kind is None:
        return
    given = {word: named.get(_name(node), node) for word, node in given.items()}
    word = spoken(given["code"]) if "code" in given else kind.code
    if not word:
        return
    entry = found.setdefault(word, ErrorCode(code=word, kind=kind))
    for texts, node in ((entry.messages, given.get("message")), (entry.hints, given.get("hint"))):
        text = spoken(node)
        if text and text not in texts:
            texts.append(text)


def _named(tree: ast.Module) -> dict[str, ast.expr]:
    """The literals that a module gives names to."""
    return {name: value for name, value in _assigned(tree) if spoken(value)}


def _assigned(block: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """Names and values that a module or class sets at its top level."""
    for line in block.body:
        match line:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case _:
                pass


def spoken(node: ast.expr | None) -> str:
    """A literal as people read it, with {name} for what is filled in. Empty if it is no literal."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr():
            return "".join(spoken(value) or _hole(value) for value in node.values)
        case ast.BinOp(op=ast.Add()):
            left, right = spoken(node.left), spoken(node.right)
            return left + right if left and right else ""
        case _:
            return ""


def _hole(node: ast.expr) -> str:
    value = node.value if isinstance(node, ast.FormattedValue) else node
    match value:
        case ast.Constant(value=""):
            return ""
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return "{" + name.strip("_").lower() + "}"
        case _:
            return "{…}"


def _name(node: ast.expr) -> str:
    return getattr(node, "id", getattr(node, "attr", ""))


def metrics() -> list[Metric]:
    """Every Prometheus series that a `metrics.py` declares, as it is exposed."""
    found = []
    for path, tree in trees():
        if path.name != "metrics.py":
            continue
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        found += [
            _metric(call, path)
            for call in calls
            if _name(call.func) in _METRICS and len(call.args) > 1
        ]
    return sorted(found, key=lambda metric: metric.name)


def _metric(node: ast.Call, path: Path) -> Metric:
    kind = _name(node.func).lower()
    name, doc, *rest = (ast.literal_eval(argument) for argument in node.args[:3])
    if kind == "counter" and not name.endswith("_total"):
        name += "_total"
    return Metric(
        name=name, kind=kind, labels=tuple(rest[0]) if rest else (), doc=doc, module=path.parts[0]
    )


def attribute_docs(path: Path) -> dict[tuple[str, str], str]:
    """The docstrings below class attributes, by class and attribute."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ClassDef):
            continue
        for line, after in zip(node.body, node.body[1:], strict=False):
            match line, after:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[node.name, name] = " ".join(text.split())
                case _:
                    pass
    return found

"""Write docs/reference from the code: ``make reference``. With ``--check`` only say what differs.

One page each for settings, commands, error codes, metrics and HTTP routes. Nothing in them is
written by hand, so that nothing can be left out of them; a house rule runs the check.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from source_facts import SOURCE, attribute_docs, error_classes, error_codes, metrics

_WORDS = {
    str: "text",
    SecretStr: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
}
ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- Written by `make reference` from the code; do not edit. -->\n"

# Names in the environment that are no keys of inhouse.toml.
VARIABLES = {
    "INHOUSE_URL": "Where the SDK finds the server.",
    "INHOUSE_KEY": "The key that the SDK sends.",
    "INHOUSE_BENCH_DATA": "Tests and benchmarks: the folder of public data.",
    "INHOUSE_FULL": "Tests: also run those at full size.",
    "INHOUSE_REQUIRE": "Tests: what may not be missing, of `postgres,models,chromium`.",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when one differs")
    check = parser.parse_args().check
    stale = []
    for name, make in PAGES.items():
        path = FOLDER / name
        text = NOTE + make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"docs/reference/{name}: {'differs from the code' if check else 'written'}")
    return 1 if check and stale else 0


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines) + "\n"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


# --- settings ---


def settings_page() -> str:
    from inhouse.settings.declared import RESERVED, Settings

    if set(VARIABLES) != set(RESERVED):
        raise SystemExit("scripts/reference.py: VARIABLES and RESERVED differ")
    rows = table(
        ("variable", "meaning"), [(f"`{name}`", VARIABLES[name]) for name in sorted(VARIABLES)]
    )
    return (
        "# Settings\n\n"
        "What you declare in `inhouse.toml`. Every key can be set in the environment instead, which"
        " wins: `INHOUSE_` and the path of the key in capitals, with two underscores for each dot,"
        " such as `INHOUSE_UPSTREAMS__LOCAL__API_KEY` for `upstreams.local.api_key`. Lists and"
        " tables are JSON there: `INHOUSE_RECORDING__REDACT='[\"email\"]'`. A key that is not"
        " listed here is refused.\n\n"
        + "\n".join(sections(Settings, ""))
        + "\n## Environment only\n\n"
        + rows
    )


def sections(model: type[BaseModel], path: str) -> Iterator[str]:
    """A heading and a table for each table of the file, in the order of the classes."""
    paths = (SOURCE / "settings").glob("*.py")
    docs = {key: doc for path in paths for key, doc in attribute_docs(path).items()}
    rows, inner = [], []
    for name, info in model.model_fields.items():
        if info.exclude:
            continue
        full = f"{path}.{info.alias or name}" if path else name
        child, many = child_model(info)
        if child is not None:
            inner.append((child, f"{full}.<name>" if many else full))
        if child is None or docs.get((model.__name__, name)):
            doc = docs.get((model.__name__, name), "")
            rows.append((f"`{info.alias or name}`", words_of(info), default_of(info), doc))
    if path or rows:
        yield f"## `[{path}]`\n" if path else "## Top level\n"
        yield f"{(model.__doc__ or '').strip()}\n" if path else ""
    if rows:
        yield table(("key", "type", "default", "meaning"), rows)
    for child, full in inner:
        yield from sections(child, full)


def child_model(info: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """The section that a key holds, and whether it holds many by name."""
    annotation = info.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for part in get_args(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part, getattr(annotation, "__origin__", None) is dict
    return None, False


def words_of(info: FieldInfo) -> str:
    """A type as a writer of TOML reads it."""
    return words(info.annotation)


def words(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(json.dumps(part) for part in parts)
    if origin is Annotated:
        return words(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(words(part) for part in parts if part is not NoneType)
    if origin is tuple and Ellipsis not in parts:
        return "[" + ", ".join(map(words, parts)) + "]"
    if origin is tuple:
        return f"list of {words(parts[0])}"
    if origin is dict:
        return f"table of {words(parts[1])}"
    return _WORDS.get(kind) or "table"


def default_of(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return f"`{json.dumps(value, default=lambda _: {})}`"


# --- commands ---


def cli_page() -> str:
    from inhouse.cli.main import app

    root = typer.main.get_command(app)
    head = (
        "# Commands\n\n"
        "Exit codes: 0 done, 1 failed, 2 bad input, 3 not found, 4 conflict, 130 stopped by Ctrl-C."
        " Options before the noun:\n\n"
    )
    return head + options_of(root) + "\n" + "\n".join(commands(root, "inhouse"))


def commands(group: Any, path: str) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        full = f"{path} {name}"
        if hasattr(command, "commands"):
            yield f"## {full}\n\n{paragraph(command.help)}\n"
            yield from commands(command, full)
            continue
        level = "##" if path == "inhouse" else "###"
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join([full, *map(usage_of, arguments)])
        yield f"{level} {full}\n\n{paragraph(command.help)}\n\n```text\n{usage} [options]\n```\n"
        if text := options_of(command):
            yield text


def usage_of(argument: Any) -> str:
    name = (argument.name or "").upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def paragraph(text: str | None) -> str:
    """The first paragraph of a help text on one line; a command without one is refused."""
    if not text:
        raise SystemExit("a command has no help text")
    return " ".join(text.split("\n\n")[0].split())


def options_of(command: Any) -> str:
    rows = []
    for one in command.params:
        if one.name == "help" or getattr(one, "hidden", False):
            continue
        if one.param_type_name == "argument":
            names = (one.name or "").upper()
        else:
            names = ", ".join([*one.opts, *one.secondary_opts])
        default = "" if one.required else shown_default(one.default)
        rows.append((f"`{names}`", getattr(one, "help", None) or "", default))
    return table(("argument or option", "meaning", "default"), rows) if rows else ""


def shown_default(value: Any) -> str:
    if value is None or value is False or callable(value) or value in ((), ""):
        return ""
    return f"`{value}`"


# --- errors and metrics ---


def errors_page() -> str:
    classes = error_classes()
    parts = [
        "# Errors\n\n"
        "Every error has a stable code, in HTTP answers (`code` of the problem JSON, `error.code`"
        " on the OpenAI routes) and in stored records. `{name}` stands for what is filled in.\n"
    ]
    codes = sorted(error_codes().values(), key=lambda entry: entry.code)
    for kind in sorted(classes.values(), key=lambda kind: (kind.status, kind.name)):
        rows = [
            (f"`{entry.code}`", " / ".join(entry.messages), " / ".join(entry.hints))
            for entry in codes
            if entry.kind.name == kind.name
        ]
        if rows:
            parts.append(
                f"## {kind.name}: HTTP {kind.status}, exit code {kind.exit_code}\n\n{kind.doc}\n\n"
                + table(("code", "what it says", "what to do"), rows)
            )
    return "\n".join(parts)


def metrics_page() -> str:
    rows = [
        (f"`{one.name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), one.doc)
        for one in metrics()
    ]
    return (
        "# Metrics\n\n"
        "`GET /metrics` in Prometheus' text format. A histogram also has the series `_bucket`,"
        " `_sum` and `_count`. Labels take few values by design: names of tasks, references of"
        " models, and words of fixed lists.\n\n"
        + table(("series", "type", "labels", "meaning"), rows)
    )


# --- HTTP ---


def http_page() -> str:
    paths = openapi()["paths"]
    groups: dict[str, list[tuple[str, ...]]] = {}
    for path, methods in sorted(paths.items()):
        for method, about in methods.items():
            tag = (about.get("tags") or ["other"])[0]
            said = about.get("description") or about.get("summary") or ""
            line = (f"`{method.upper()} {path}`", said.split("\n\n")[0], ", ".join(asked(about)))
            groups.setdefault(tag, []).append(line)
    head = (
        "# HTTP\n\n"
        "The server listens on port 8040. A running one gives the whole document, with every"
        " schema, at `/openapi.json`. Errors are RFC 9457 problem JSON; the OpenAI routes answer in"
        " OpenAI's shape. See [errors](errors.md) for the codes.\n"
    )
    parts = [
        f"## {tag.capitalize()}\n\n" + table(("route", "what it does", "takes"), rows)
        for tag, rows in sorted(groups.items())
    ]
    return "\n".join([head, *parts])


def asked(about: dict[str, Any]) -> list[str]:
    """The names of what a route takes: parameters, then the schema of the body."""
    names = [f"`{one['name']}`" for one in about.get("parameters", []) if one["in"] != "path"]
    content = about.get("requestBody", {}).get("content", {})
    bodies = [kind.get("schema", {}).get("$ref", "") for kind in content.values()]
    return names + [f"body `{body.rsplit('/', 1)[-1]}`" for body in bodies if body]


def openapi() -> dict[str, Any]:
    """The document as a server over an empty project folder gives it."""
    import asyncio

    from inhouse.api.app import app
    from inhouse.bootstrap import bootstrap
    from inhouse.settings import load_settings

    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    with tempfile.TemporaryDirectory() as folder:
        wired = bootstrap(load_settings(Path(folder), {}))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": "/openapi.json",
            "raw_path": b"/openapi.json",
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8040),
        }
        asyncio.run(app(wired)(scope, receive, send))
        wired.database.close()
    document: dict[str, Any] = json.loads(b"".join(part.get("body", b"") for part in sent))
    return document


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "cli.md": cli_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "http.md": http_page,
}

if __name__ == "__main__":
    sys.exit(main())

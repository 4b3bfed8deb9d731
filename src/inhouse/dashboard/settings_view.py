"""Every setting in force: its value, and the line of ``inhouse.toml`` that says so."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from inhouse.reload import Loaded
from inhouse.settings import FILE_NAME, Settings
from inhouse.settings.file import place_of

MASK: Final = "********"
_VALUE: Final = re.compile(r"=[^&#]*")
_MISSING: Final = object()
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """See ``client.settings.SettingValue``."""

    key: str
    value: str
    source: str
    line: int | None
    waits: bool


def values_of(settings: Settings, state: Loaded) -> list[Value]:
    """Every setting, in the order of the reference; those of upstreams, tasks and forced models by
    their names. Lines are those of the file as it is now."""
    declared = _read(settings)
    return [
        _value(settings, declared, path, value, state)
        for path, value in _leaves(settings, ())
        if path[0] != "folder"
    ]


def _value(
    settings: Settings, declared: Mapping[str, Any], path: Sequence[str], value: Any, state: Loaded
) -> Value:
    source, line, waits = "default", None, path[0] in state.needs_restart
    if _is_set(settings, path):
        is_told = _holds(declared, path, value, is_newer=waits or bool(state.error))
        source = "file" if is_told else "environment"
    if source == "file":
        found = place_of(settings.folder / FILE_NAME, path).rpartition(":")[2]
        line = int(found) if found.isdigit() else None
    return Value(
        key=".".join(path),
        value=_written(value),
        source=source,
        line=line,
        waits=waits,
    )


def _leaves(model: BaseModel, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, field in type(model).model_fields.items():
        yield from _leaves_of(getattr(model, name), (*path, field.alias or name))


def _leaves_of(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, BaseModel):
        yield from _leaves(value, path)
    elif isinstance(value, Mapping) and path[-1] != "schema":
        for name, inner in value.items():
            yield from _leaves_of(inner, (*path, name))
    elif value is not None:
        yield path, value


def _is_set(model: Any, path: Sequence[str]) -> bool:
    """Whether somebody declared the key, rather than left it to its default."""
    for part in path:
        if isinstance(model, Mapping):
            model = model[part]
            continue
        name = next((n for n, f in type(model).model_fields.items() if part in (n, f.alias)), part)
        if name not in model.model_fields_set:
            return False
        model = getattr(model, name)
    return True


def _holds(declared: Mapping[str, Any], path: Sequence[str], value: Any, *, is_newer: bool) -> bool:
    """Whether the file holds the key with this value; with any, if it is newer than what serves."""
    found: Any = declared
    for part in path:
        found = found.get(part, _MISSING) if isinstance(found, Mapping) else _MISSING
    return found is not _MISSING and (is_newer or _plain(found) == _plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _written(value: Any) -> str:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else '""'
    if isinstance(value, str):
        return json.dumps(_cut(without_secrets(value)), ensure_ascii=False)
    plain = list(value) if isinstance(value, tuple) else value
    return _cut(json.dumps(plain, ensure_ascii=False, default=str))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def without_secrets(text: str) -> str:
    """An address whose password and values behind its ``?`` are masked; other texts as they are."""
    try:
        password = urlsplit(text).password if "://" in text else None
    except ValueError:
        return text
    if password:
        text = text.replace(f":{password}@", f":{MASK}@")
    address, mark, query = text.partition("?")
    is_address = mark and "://" in address
    return f"{address}?{_VALUE.sub(f'={MASK}', query)}" if is_address else text


def _read(settings: Settings) -> Mapping[str, Any]:
    try:
        return tomllib.loads((settings.folder / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}

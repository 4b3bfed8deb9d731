"""Reading ``inhouse.toml``: the file as it is written, and the line that an error is about."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from inhouse.core.errors import Invalid

_KEY_PART = re.compile(r'"([^"]*)"|([A-Za-z0-9_-]+)')


def read_toml(path: Path) -> dict[str, Any]:
    """What a file declares. Raises Invalid when it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{path}: {error}", code="settings") from None
    except UnicodeDecodeError as error:
        raise Invalid(f"{path}: not UTF-8 ({error.reason})", code="settings") from None
    except RecursionError:
        raise Invalid(f"{path}: nested too deeply", code="settings") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables with the values of another in front."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def explain(path: Path, error: ValidationError) -> str:
    """The first thing that is wrong: file, line, key and reason."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = error.error_count() - 1
    said = first.get("ctx", {}).get("error", first["msg"])
    reason = "unknown key" if first["type"] == "extra_forbidden" else str(said)
    where = place_of(path, tuple(str(part) for part in first["loc"]))
    return f"{where}: {key}: {reason}" + (f" (and {more} more)" if more else "")


def place_of(path: Path, key: Sequence[str]) -> str:
    """``file:line`` of a key, or of the innermost table around it that the file holds; the file
    alone when the key comes from elsewhere."""
    best, line_of_best = 0, 0
    table: tuple[str, ...] = ()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("["):
            table = found = _dotted(line.strip().strip("[]"))
        else:
            name, equals, _ = line.partition("=")
            found = (*table, *_dotted(name)) if equals and not name.lstrip().startswith("#") else ()
        if len(found) > best and found == tuple(key[: len(found)]):
            best, line_of_best = len(found), number
    return f"{path}:{line_of_best}" if best else f"{path}"


def _dotted(key: str) -> tuple[str, ...]:
    """A dotted key in its parts, quotes taken off."""
    bare = key.split("#")[0] if '"' not in key else key
    return tuple(quoted or plain for quoted, plain in _KEY_PART.findall(bare.strip()))

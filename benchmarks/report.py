"""Where results go: a JSON file, and a block of README.md between two markers."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def bench_data() -> Path:
    """Folder of the public data; ends the run with one line when it is missing."""
    folder = Path(os.environ.get("INHOUSE_BENCH_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        sys.exit(f"{folder} is no folder; set INHOUSE_BENCH_DATA to the public data")
    return folder


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Keep a result with the machine and the day it was measured on."""
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    about = {
        "measured_at": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
    }
    path.write_text(json.dumps({"about": about, **result}, indent=2) + "\n", encoding="utf-8")
    return path


def write_block(name: str, text: str) -> None:
    """Replace the block of README.md between its two markers."""
    path = ROOT / "README.md"
    begin, end = f"<!-- figures:{name} -->", f"<!-- /figures:{name} -->"
    old = path.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(old):
        sys.exit(f"README.md has no block {name}")
    path.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", old), encoding="utf-8")

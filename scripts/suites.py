"""Run test suites one after the other and end with one closing line for all of them.

    python scripts/suites.py [--json FILE] house unit contract integration e2e

A suite is a folder under tests/; one that does not exist, or holds no test, counts nothing. Each
prints its own seconds. Tests marked `full` run when INHOUSE_FULL is set. The last two lines are the
totals: `N passed, N failed`, then pytest's own form of them. The exit status is 1 when anything
failed, when a suite could not run, or when no test ran at all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NOTHING_COLLECTED = 5
# Otherwise the scope with the fewest tests goes last, and in it the longest test, alone.
IN_ORDER = "--no-loadscope-reorder"
OUTCOMES = ("failed", "passed", "skipped", "errors")


def run(suite: str, *, full: bool) -> dict[str, Any]:
    """One suite in a pytest of its own: its counts, seconds, slowest tests and exit status."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [
            *(sys.executable, "-m", "pytest", f"tests/{suite}", "--quiet"),
            *(() if full else ("-m", "not full")),
            *(() if suite == "house" else ("-n", "2", "--dist", "loadscope", IN_ORDER)),
            f"--junit-xml={report}",
        ]
        status = subprocess.run(command, check=False, cwd=ROOT).returncode
        counts, tests = read(report) if report.exists() else (Counter[str](), [])
    return {
        "suite": suite,
        "status": 0 if status == NOTHING_COLLECTED else status,
        "seconds": round(time.monotonic() - started, 1),
        "counts": {name: counts[name] for name in OUTCOMES},
        "tests": tests,
    }


def read(report: Path) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Outcomes by name, and every test with its outcome and seconds, from a JUnit report."""
    counts: Counter[str] = Counter()
    tests = []
    for case in ET.parse(report).iter("testcase"):
        outcome = outcome_of(case)
        counts[outcome] += 1
        name = f"{case.get('classname')}::{case.get('name')}"
        tests.append({"test": name, "outcome": outcome, "seconds": float(case.get("time", 0))})
    return counts, tests


def outcome_of(case: ET.Element) -> str:
    for tag, outcome in (("error", "errors"), ("failure", "failed"), ("skipped", "skipped")):
        if case.find(tag) is not None:
            return outcome
    return "passed"


def closing(total: Counter[str], seconds: float) -> str:
    """The totals as pytest would print them."""
    parts = [f"{total[name]} {name}" for name in OUTCOMES if total[name]] or ["no tests ran"]
    return f" {', '.join(parts)} in {seconds:.2f}s ".center(80, "=")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write counts, seconds and every test here")
    parser.add_argument("suites", nargs="+")
    arguments = parser.parse_args()
    full = bool(os.environ.get("INHOUSE_FULL"))
    results = []
    for suite in arguments.suites:
        if not any((ROOT / "tests" / suite).glob("**/test_*.py")):
            print(f"--- {suite}: no tests yet")
            continue
        result = run(suite, full=full)
        results.append(result)
        print(f"--- {suite}: {result['seconds']} s", flush=True)
    total: Counter[str] = Counter()
    for result in results:
        total.update(result["counts"])
    seconds = sum(result["seconds"] for result in results)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        about = {"python": platform.python_version(), "machine": platform.machine(), "full": full}
        text = json.dumps({**about, "total": total, "suites": results}, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    print(f"{total['passed']} passed, {total['failed'] + total['errors']} failed")
    print(closing(total, seconds))
    return 1 if not total["passed"] or any(result["status"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())

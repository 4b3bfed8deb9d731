"""Run test suites and end with one closing line for all of them.

    python scripts/suites.py [--json FILE] house unit contract integration e2e

A suite is a folder under tests/; one that does not exist, or holds no test, counts nothing. Each
tells how many of its tests passed, and their seconds. Tests marked `full` run when INHOUSE_FULL is
set. All run together in one pytest, but for the modules that drive a browser: its event loop stays
in the process that drives it. FILE names the tests that took a second or more, or did not pass. The
last two lines are the totals: `N passed, N failed`, then pytest's own form of them. The exit status
is 1 when anything failed, when pytest could not run, or when no test ran at all.
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
# One more than the two cores that we promise to need: every third test waits for something.
WORKERS = 3
# A module goes to one worker, in the order of tests/conftest.py: the longest first.
IN_PARALLEL = ("-n", str(WORKERS), "--dist", "loadscope", "--no-loadscope-reorder")
BROWSERS = "test_pages_*.py"
OUTCOMES = ("failed", "passed", "skipped", "errors")


def run(paths: list[str], *, full: bool) -> tuple[int, list[dict[str, Any]]]:
    """Suites, or modules of them, in one pytest: its exit status, and every test's name, outcome
    and seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [
            *(sys.executable, "-m", "pytest", "--quiet"),
            *paths,
            *(() if full else ("-m", "not full")),
            *IN_PARALLEL,
            f"--junit-xml={report}",
        ]
        status = subprocess.run(command, check=False, cwd=ROOT).returncode
        tests = read(report)[1] if report.exists() else []
    return 0 if status == NOTHING_COLLECTED else status, tests


def told(suite: str, tests: list[dict[str, Any]]) -> dict[str, Any]:
    """A suite's tests, how many ended how, and the seconds that they took one by one."""
    own = [test for test in tests if test["test"].startswith(f"tests.{suite}.")]
    counts = Counter(test["outcome"] for test in own)
    return {
        "suite": suite,
        "seconds": round(sum(test["seconds"] for test in own), 1),
        "counts": {name: counts[name] for name in OUTCOMES},
        "tests": [test for test in own if test["seconds"] >= 1 or test["outcome"] != "passed"],
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
    parser.add_argument("--json", type=Path, help="write counts and seconds here")
    parser.add_argument("suites", nargs="+")
    arguments = parser.parse_args()
    full = bool(os.environ.get("INHOUSE_FULL"))
    wanted = [one for one in arguments.suites if any((ROOT / "tests" / one).glob("**/test_*.py"))]
    folders = [f"tests/{suite}" for suite in wanted]
    found = (path for one in folders for path in sorted((ROOT / one).glob(BROWSERS)))
    browsers = [str(path.relative_to(ROOT)) for path in found]
    without = [*folders, *(f"--ignore={path}" for path in browsers)] if folders else []
    for suite in arguments.suites:
        if suite not in wanted:
            print(f"--- {suite}: no tests yet")
    started = time.monotonic()
    status, tests = 0, list[dict[str, Any]]()
    for together in (without, browsers):
        if together:
            failed, ran = run(together, full=full)
            status, tests = status or failed, tests + ran
    seconds = time.monotonic() - started
    results = [told(suite, tests) for suite in wanted]
    for result in results:
        print(f"--- {result['suite']}: {result['counts']['passed']} passed, {result['seconds']} s")
    total = Counter(test["outcome"] for test in tests)
    if arguments.json:
        about = {"python": platform.python_version(), "machine": platform.machine(), "full": full}
        about |= {"seconds": round(seconds, 1), "total": total, "suites": results}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(f"{total['passed']} passed, {total['failed'] + total['errors']} failed")
    print(closing(total, seconds))
    return 1 if not total["passed"] or status else 0


if __name__ == "__main__":
    sys.exit(main())

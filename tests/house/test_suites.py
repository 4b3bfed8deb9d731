"""The runner of the suites counts right, and never says green over nothing."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import suites

ROOT = Path(__file__).parents[2]
REPORT = """<testsuites><testsuite>
<testcase classname="a" name="one" time="0.5"/>
<testcase classname="a" name="two" time="1"><failure message="no"/></testcase>
<testcase classname="a" name="three" time="0"><skipped message="later"/></testcase>
<testcase classname="a" name="four" time="0"><error message="set-up"/></testcase>
</testsuite></testsuites>"""


def test_a_report_is_counted_by_outcome(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(REPORT, encoding="utf-8")
    counts, tests = suites.read(path)
    assert counts == {"passed": 1, "failed": 1, "skipped": 1, "errors": 1}
    assert tests[0] == {"test": "a::one", "outcome": "passed", "seconds": 0.5}


def test_the_closing_line_reads_as_pytests() -> None:
    line = suites.closing(Counter(passed=12, failed=1), 3.25)
    assert line.startswith("====")
    assert " 1 failed, 12 passed in 3.25s " in line
    assert "no tests ran" in suites.closing(Counter(), 0.0)


def test_who_drives_a_browser_runs_apart() -> None:
    tests = ROOT / "tests"
    modules = set(tests.rglob("test_*.py")) - {Path(__file__)}
    drive = {path for path in modules if "(chromium: Browser" in path.read_text("utf-8")}
    assert drive
    assert drive <= set((tests / "e2e").glob(suites.BROWSERS))


def test_no_test_at_all_is_no_success() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "suites.py"), "nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2] == "0 passed, 0 failed"

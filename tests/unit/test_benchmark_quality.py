"""The quality benchmark: parts are made once, figures and bars come from all seeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``benchmarks`` lies beside the sources and is not installed; its cache is the test's."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.quality import part

    monkeypatch.setattr(part, "CACHE", tmp_path)


@pytest.fixture
def data(benchmark_code: None) -> Any:
    from benchmarks.quality.sets import AGREED, DataSet, Row

    from inhouse.tasks.spec import TaskKind, TaskSpec

    spec = TaskSpec(
        name="mood", kind=TaskKind.CHOICE, description="", labels=("bad", "good"), prompt="p"
    )
    rows = tuple(
        Row(
            text=f"text {number}",
            target={"label": "good" if number % 3 else "bad"},
            group=str(number),
            split="train" if number < 6 else "test",
            agreed=1.0 if number % 2 else 0.5,
        )
        for number in range(12)
    )
    return DataSet(
        name="tiny", title="Tiny", spec=spec, rows=rows, bars={"macro_f1": 0.9, AGREED: 0.5}
    )


@pytest.fixture
def keep(data: Any, tmp_path: Path) -> Callable[[str, dict[str, Any]], None]:
    def write(name: str, result: dict[str, Any]) -> None:
        from benchmarks.quality import part

        content = {"key": part.key_of(data, name), "result": result}
        folder = tmp_path / "tiny"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(content))

    return write


RIGHT = [[0.9, 0.1] if number % 3 == 0 else [0.2, 0.8] for number in range(6, 12)]
WRONG = [row[::-1] for row in RIGHT]


def test_a_part_is_made_once_and_again_for_other_settings(data: Any) -> None:
    from dataclasses import replace

    from benchmarks.quality import part

    assert part.read(data, "majority") is None
    part.make(data, "majority")
    found = part.read(data, "majority")
    assert found is not None
    assert found["result"]["answers"] == [[pytest.approx(1 / 3, abs=1e-5), 0.666667]] * 6
    other = replace(data, overrides={"epochs": 9})
    assert part.key_of(other, "own-0") != part.key_of(data, "own-0")
    assert part.key_of(other, "majority") == part.key_of(data, "majority")
    fewer = replace(data, rows=data.rows[1:])
    assert part.read(fewer, "majority") is None


def test_a_bar_wants_the_mean_of_all_seeds(
    data: Any, keep: Callable[[str, dict[str, Any]], None]
) -> None:
    from benchmarks.quality.run import figures_of
    from benchmarks.quality.table import block

    for seed, answers in enumerate((RIGHT, RIGHT)):
        keep(f"own-{seed}", {"answers": answers, "served": "int8", "others": {"fp32": RIGHT}})
    assert figures_of(data)["bars"]["macro_f1"]["found"] is None
    keep("own-2", {"answers": WRONG, "served": "fp32"})
    keep("general", {"answers": WRONG[:2], "rows": [0, 1]})
    found = figures_of(data)
    bar = found["bars"]["macro_f1"]
    assert (bar["found"], bar["met"]) == (pytest.approx(2 / 3), False)
    agreed = found["bars"]["accuracy_all_agree"]
    assert (agreed["found"], agreed["met"]) == (pytest.approx(2 / 3), True)
    assert found["models"]["own-0"]["figures"]["accuracy_all_agree"]["n"] == 3
    assert found["models"]["own-0"]["figures_fp32"]["accuracy"]["estimate"] == 1.0
    same = found["models"]["own-2"]["on_the_general_models_rows"]
    assert same["accuracy"]["estimate"] == 0.0
    text = block({"phrasebank": found})
    assert "| 0.667 [1.000, 1.000, 0.000] |" in text
    assert "| Tiny, macro-F1 | 0.90 | 0.667 | missed |" in text

"""Cards and differences of snapshots with near repeats, on both dialects and by command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from inhouse.cli import context, dataset
from inhouse.core.errors import Invalid, Unavailable
from inhouse.core.ids import new_id
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.card import make_card
from inhouse.datasets.card_words import card_markdown, escaped
from inhouse.datasets.diff import Change, compare
from inhouse.datasets.erase import erase_examples
from inhouse.datasets.ingest import import_file
from inhouse.datasets.near import NearMethod, NearSettings
from inhouse.datasets.snapshot import (
    SnapshotRecord,
    build,
    build_unlocked,
    load_examples,
)
from inhouse.db.unit import Database
from inhouse.feedback.submit import submit
from inhouse.interactions import record
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock

SPEC = TaskSpec(
    name="mood", kind=TaskKind.CHOICE, description="", labels=("bad", "good"), prompt="{{ input }}"
)
OTHER = TaskSpec(name="tone", kind=TaskKind.SCORE, description="", low=-1.0, prompt="{{ input }}")
CATALOG = Catalog([SPEC, OTHER])
NEWS = "The company said on Friday that its profit in the third quarter of the year was {}."
OFF = BuildSettings(near=NearSettings(method=NearMethod.OFF))


def _import(database: Database, folder: Path, rows: list[Mapping[str, Any]]) -> None:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    import_file(database, SPEC, path, clock=FrozenClock())


def _correct(
    database: Database, clock: FrozenClock, text: str, label: str, spec: TaskSpec = SPEC
) -> str:
    made = record.InteractionRecord(
        id=new_id(),
        created_at=clock.now(),
        status="answered",
        input=text,
        latency_ms=1.0,
        task=spec.name,
        task_revision=spec.revision,
    )
    with database.write() as unit:
        record.insert(unit, [made])
        submit(
            unit,
            interaction_id=made.id,
            kind="correction",
            value=label,
            author="ann",
            idempotency_key=None,
            at=clock.now(),
            catalog=CATALOG,
        )
    return made.id


def _fill(database: Database, clock: FrozenClock, folder: Path, order: int) -> list[str]:
    """Imported rows and corrected calls, some nearly the same across the two."""
    rows = [{"text": f"{n} of its own words number {n}", "label": "good"} for n in range(60)]
    rows += [{"text": NEWS.format(n), "label": "good", "published": "2025-01-01"} for n in (1, 2)]
    _import(database, folder, rows[::order])
    calls = [(NEWS.format("strong"), "good"), (NEWS.format("weak, alas"), "bad")]
    return [_correct(database, clock, text, label) for text, label in calls[::order]]


def _build(
    database: Database, clock: FrozenClock, settings: BuildSettings | None = None
) -> SnapshotRecord:
    return build_unlocked(database, SPEC, settings=settings or BuildSettings(), at=clock.now())


def test_near_repeats_of_files_and_feedback_are_on_one_side(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    _fill(database, clock, tmp_path, 1)
    built = _build(database, clock)
    with database.read() as unit:
        news = [e for e in load_examples(unit, built.id) if e.input.startswith("The company")]
    assert len(news) == 4
    assert len({(example.split, example.group) for example in news}) == 1
    near = built.counts["near"]
    pairs = near.pop("pairs")
    assert near == {"repeats": 3, "moved": 3, "left_out": 0, "disagreeing": 1}
    assert len(pairs) == 1
    assert built.settings["near"] == "text"
    assert built.settings["near_encoder"] is None


def test_a_rebuild_elsewhere_has_the_same_hash(
    sqlite_database: Database, clock: FrozenClock, tmp_path: Path, sqlite_template: Path
) -> None:
    _fill(sqlite_database, clock, tmp_path, 1)
    first = _build(sqlite_database, clock)
    (tmp_path / "second.db").write_bytes(sqlite_template.read_bytes())
    elsewhere = Database(f"sqlite:///{tmp_path / 'second.db'}")
    _fill(elsewhere, FrozenClock(), tmp_path, -1)
    again = _build(elsewhere, FrozenClock())
    elsewhere.close()
    assert again.content_hash == first.content_hash
    assert again.counts == first.counts
    assert _build(sqlite_database, clock).id == first.id
    with sqlite_database.write() as unit:
        assert build(unit, SPEC, settings=BuildSettings(), at=clock.now()).id == first.id


class _Meanings:
    """An encoder to which every two texts that begin alike mean the same."""

    name = "beginnings 1"

    def __init__(self, during: Any = None) -> None:
        self._during = during

    def nearness(self, texts: Any, threshold: float) -> Any:
        from inhouse.datasets.near import WordNearness

        assert threshold == 0.9
        if self._during:
            self._during()
        return WordNearness([text[0] for text in texts], threshold)


def test_meaning_is_read_by_the_encoder_that_is_recorded(
    sqlite_database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    _fill(sqlite_database, clock, tmp_path, 1)
    settings = BuildSettings(near=NearSettings(method=NearMethod.EMBEDDING))
    with pytest.raises(Unavailable) as refused:
        _build(sqlite_database, clock, settings)
    assert refused.value.code == "near-encoder"
    built = build_unlocked(
        sqlite_database, SPEC, settings=settings, at=clock.now(), open_encoder=_Meanings
    )
    assert built.settings["near_encoder"] == "beginnings 1"
    assert built.counts["near"]["repeats"] == 64 - 11
    assert _build(sqlite_database, clock).content_hash != built.content_hash


def test_what_is_erased_while_texts_are_compared_is_not_frozen(
    sqlite_database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    from inhouse.db.dialects import table_of
    from inhouse.interactions.erase import ERASED
    from inhouse.interactions.tables import Interaction

    call = _correct(sqlite_database, clock, "a secret of somebody", "good")
    _fill(sqlite_database, clock, tmp_path, 1)
    table = table_of(Interaction)

    def erase() -> None:
        with sqlite_database.write() as unit:
            unit.execute(table.update().where(table.c.id == call).values(input=ERASED))

    settings = BuildSettings(near=NearSettings(method=NearMethod.EMBEDDING))
    built = build_unlocked(
        sqlite_database,
        SPEC,
        settings=settings,
        at=clock.now(),
        open_encoder=lambda: _Meanings(erase),
    )
    with sqlite_database.read() as unit:
        assert "a secret of somebody" not in {e.input for e in load_examples(unit, built.id)}
    assert built.dropped == {"empty-input": 1}


def test_the_card_says_what_the_snapshot_is(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    calls = _fill(database, clock, tmp_path, 1)
    built = _build(database, clock)
    with database.write() as unit:
        card = make_card(unit, built)
        erase_examples(unit, calls[:1])
        after = make_card(unit, _again(unit, built))
    assert sum(card.sizes.values()) == 64
    assert card.balance == {"bad": 1 / 64, "good": 63 / 64}
    assert card.sources == {"rows.jsonl": 62, "correction": 2}
    assert card.facts["kinds"] == {"correction": 2, "import": 62}
    assert card.facts["authors"] == 1
    assert card.facts["time"]["first"][:10] == "2025-01-01"
    assert card.facts["time"]["undated"] == 60
    assert card.facts["words"]["most"] == 18
    assert card.command == (
        "inhouse dataset build mood --valid-fraction 0.1 --test-fraction 0.2 --near text "
        "--near-threshold 0.6"
    )
    (pair,) = card.disagreements
    assert {pair.target["label"], pair.other_target["label"]} == {"bad", "good"}
    words = " ".join(card.limits)
    assert "bad is rare: 1.6%" in words
    assert "All corrections are of one author." in words
    assert "Of 3 near repeats 1 disagree" in words
    assert (after.erased, len(after.facts)) == (1, len(card.facts))
    assert any("erased since" in limit for limit in after.limits)
    text = card_markdown(card)
    assert "## Known limits" in text
    assert f"`{built.content_hash}`" in text
    assert "ann" not in text


def _again(unit: Any, built: SnapshotRecord) -> SnapshotRecord:
    from inhouse.datasets.snapshot import get

    return get(unit, built.id)


def test_a_text_cannot_break_a_card() -> None:
    assert escaped("a | b\n# <script> [x](y)") == r"a \| b \# \<script\> \[x\](y)"


def test_what_changed_between_two_snapshots(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    _fill(database, clock, tmp_path, 1)
    first = _build(database, clock)
    clock.advance(60)
    for text, label in (("0 of its own words number 0!", "bad"), ("quite new", "good")):
        _correct(database, clock, text, label)
    second = _build(database, clock)
    apart = _build(database, clock, OFF)
    with database.read() as unit:
        found = compare(unit, first, second)
        back = compare(unit, second, first)
        moved = compare(unit, second, apart)
    assert (found.same, len(found.changes)) == (63, 2)
    changed, added = found.changes
    assert isinstance(changed, Change)
    assert set(changed.what) == {"target", "input", "quality"}
    assert (changed.before.target, changed.after.target) == ({"label": "good"}, {"label": "bad"})
    assert (added.what, added.before, added.after.input) == (("added",), None, "quite new")
    assert [(one.label, one.added, one.removed) for one in found.labels] == [
        ("bad", 1, 0),
        ("good", 1, 1),
    ]
    assert [change.what[0] for change in back.changes] == ["target", "removed"]
    assert moved.settings == {"near": ["text", "off"], "near_words": [0.6, None]}
    assert moved.counts["split"] == sum(move.examples for move in moved.moves)


def test_snapshots_of_two_tasks_are_not_compared(
    sqlite_database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    _fill(sqlite_database, clock, tmp_path, 1)
    _correct(sqlite_database, clock, "a text", 0.5, OTHER)  # type: ignore[arg-type]
    first = _build(sqlite_database, clock)
    other = build_unlocked(sqlite_database, OTHER, settings=BuildSettings(), at=clock.now())
    with sqlite_database.read() as unit, pytest.raises(Invalid) as refused:
        compare(unit, first, other)
    assert refused.value.code == "snapshot-tasks"


def test_the_command_line_shows_both(
    sqlite_database: Database, clock: FrozenClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = SimpleNamespace(database=sqlite_database, catalog=CATALOG, clock=clock)
    opened = context.Context(Path())
    opened.__dict__["app"] = app
    monkeypatch.setattr(context, "_context", opened)
    _fill(sqlite_database, clock, tmp_path, 1)
    first = json.loads(_run("build", "mood", "--near", "off", "--json"))
    _correct(sqlite_database, clock, "quite new", "good")
    second = json.loads(_run("build", "mood", "--near-threshold", "0.5", "--json"))
    assert second["settings"]["near_words"] == 0.5
    lines = _run("diff", first["id"], "latest", "--task", "mood").splitlines()
    assert lines[0] == f"mood: {first['content_hash'][:12]} -> {second['content_hash'][:12]}"
    assert "added 1" in lines[1]
    assert any(line.startswith("+ ") and line.endswith("good: quite new") for line in lines)
    assert json.loads(_run("diff", first["id"], second["id"], "--json"))["counts"]["added"] == 1
    assert _run("card", "latest", "--task", "mood").startswith("# Data card: mood ")
    assert json.loads(_run("card", second["id"], "--json"))["near"]["repeats"] == 3
    result = CliRunner().invoke(dataset.app, ["build", "mood", "--near", "fuzzy"])
    assert isinstance(result.exception, Invalid)


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(dataset.app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout

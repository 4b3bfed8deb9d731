"""Every format carries what it can carry, whatever the text, and names what it cannot read."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inhouse.core.errors import Invalid
from inhouse.datasets.formats import docbin
from inhouse.datasets.formats.choose import ENDINGS, FORMATS, format_of, load
from inhouse.datasets.formats.pieces import cut, join
from inhouse.datasets.formats.row import Record, Row
from inhouse.datasets.formats.targets import COLUMNS, target_of
from inhouse.datasets.rows import columns_of, read_rows
from inhouse.tasks.spec import TaskKind, TaskSpec

SCHEMA = {"type": "object", "properties": {"note": {"type": "string"}}}
SPECS = {
    kind: TaskSpec(
        name="t",
        kind=kind,
        description="About it",
        labels=("bad", 'B-"odd", label') if kind in (TaskKind.CHOICE, TaskKind.SPANS) else (),
        low=-1.0,
        schema=SCHEMA if kind is TaskKind.JSON else None,
        prompt="{{ input }}",
    )
    for kind in TaskKind
}
EVERY_KIND = ("csv", "jsonl", "chat", "parquet")
PAIRS = [
    *((name, kind) for name in EVERY_KIND for kind in TaskKind),
    ("conll", TaskKind.SPANS),
    ("docbin", TaskKind.SPANS),
    ("docbin", TaskKind.CHOICE),
]
TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("\n\r\t\"',; #=-\0\u2028\x85\ufeff\u00a0e\u0301 aB1"),
    ),
    min_size=1,
    max_size=40,
).filter(lambda text: text.strip() != "")


@st.composite
def _records(draw: st.DrawFn, kind: TaskKind) -> Record:
    text = draw(TEXTS)
    return Record(
        text=text,
        target=draw(_targets(kind, text)),
        weight=draw(st.sampled_from([1.0, 0.1, 2.5])),
        quality=1.0,
        group=draw(st.none() | TEXTS.filter(lambda name: "\0" not in name)),
        split=draw(st.sampled_from(["train", "valid", "test"])),
    )


def _targets(kind: TaskKind, text: str) -> st.SearchStrategy[dict[str, Any]]:
    match kind:
        case TaskKind.CHOICE:
            return st.sampled_from(SPECS[kind].labels).map(lambda label: {"label": label})
        case TaskKind.SCORE:
            return st.floats(-1.0, 1.0).map(lambda value: {"value": value})
        case TaskKind.TEXT:
            return TEXTS.map(lambda said: {"text": said})
        case TaskKind.JSON:
            return TEXTS.map(lambda said: {"note": said})
        case TaskKind.SPANS:
            edges = st.sets(st.integers(0, len(text)), max_size=6).map(sorted)
            return edges.flatmap(lambda found: _spans(text, found))


def _spans(text: str, edges: Sequence[int]) -> st.SearchStrategy[dict[str, Any]]:
    places = list(zip(edges[::2], edges[1::2], strict=False))
    labels = st.sampled_from(SPECS[TaskKind.SPANS].labels)
    return st.tuples(*(labels for _ in places)).map(
        lambda chosen: {
            "spans": [
                {"start": start, "end": end, "label": label, "text": text[start:end]}
                for (start, end), label in zip(places, chosen, strict=True)
            ]
        }
    )


def _write(name: str, spec: TaskSpec, records: Sequence[Record]) -> tuple[bytes, dict[str, int]]:
    file = BytesIO()
    left_out = load(name).write(file, spec, records)
    return file.getvalue(), left_out


def _read(name: str, content: bytes, **named: str) -> list[Row]:
    return list(load(name).read(BytesIO(content), named))


def _target(spec: TaskSpec, row: Row) -> dict[str, Any]:
    columns = [name for name in COLUMNS[spec.kind] if name in row.fields]
    return target_of(spec, row.fields[columns[0]], row.fields["text"])


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_what_is_written_is_read_again(name: str, kind: TaskKind) -> None:
    spec = SPECS[kind]

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_records(kind), max_size=4))
    def holds(records: list[Record]) -> None:
        content, left_out = _write(name, spec, records)
        carried = [one for one in records if name != "conll" or _has_tags(one)]
        assert sum(left_out.values()) == len(records) - len(carried)
        rows = _read(name, content)
        assert [row.problem for row in rows] == [""] * len(carried)
        assert [row.fields["text"] for row in rows] == [one.text for one in carried]
        assert [_target(spec, row) for row in rows] == [one.target for one in carried]
        if name != "chat":
            assert [float(row.fields.get("weight", 1)) for row in rows] == [
                one.weight for one in carried
            ]
            groups = [one.group for one in carried]
            if name == "conll":
                groups = [g if g and "\n" not in g and "\r" not in g else None for g in groups]
            assert [row.fields.get("group") or None for row in rows] == groups

    holds()


def _has_tags(record: Record) -> bool:
    return all(span["text"] == span["text"].strip() for span in record.target["spans"])


@pytest.mark.parametrize(("name", "kind"), [("conll", TaskKind.CHOICE), ("docbin", TaskKind.SCORE)])
def test_a_kind_without_a_place_in_the_format_is_refused(name: str, kind: TaskKind) -> None:
    with pytest.raises(Invalid, match="task of kind") as refused:
        _write(name, SPECS[kind], [])
    assert refused.value.code == "export-format"


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-X I-X O B-X", ["ab cd", "gh"]),
        ("I-X I-X B-X I-Y", ["ab cd", "ef", "gh"]),
        ("S-X B-Y E-Y O", ["ab", "cd ef"]),
        ("U-X B-Y L-Y I-Y", ["ab", "cd ef", "gh"]),
        ("O O _ O", []),
    ],
)
def test_schemes_of_tags(tags: str, spans: list[str]) -> None:
    lines = [
        f"{word} {tag}" for word, tag in zip(("ab", "cd", "ef", "gh"), tags.split(), strict=True)
    ]
    (row,) = _read("conll", "\n".join(lines).encode())
    text = row.fields["text"]
    assert [text[span["start"] : span["end"]] for span in row.fields["spans"]] == spans


def test_conll_in_the_wild() -> None:
    content = (
        "\ufeff-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n. . O O\n\n"
        "# split = test\nPeter NNP B-NP B-PER\n\n-DOCSTART- -X- O O\r\n\r\nOdd NNP B-NP\tX\r\n\r\n"
        "# sent_id = 4\n# text = He  said.\nHe PRP O O\nsaid VBD O O\n. . O O\n\nalone\n\n"
    ).encode() + b"caf\xe9 X X O\n\n# newdoc id = d\n# text = gone\nhere X X O\n"
    rows = _read("conll", content)
    assert [row.line for row in rows] == [3, 8, 12, 16, 20, 22, 26]
    first, second, odd, exact, alone, latin, gone = rows
    assert first.fields["text"] == "EU rejects."
    assert first.fields["spans"] == [{"start": 0, "end": 2, "label": "ORG"}]
    assert first.fields["group"] == second.fields["group"] != exact.fields["group"]
    assert second.fields["split"] == "test"
    assert "neither O nor" in odd.problem
    assert exact.fields["text"] == "He  said."
    assert "line 20" in alone.problem
    assert latin.problem == "not UTF-8"
    assert "is not where" in gone.problem


def test_columns_of_conll_are_counted_from_one() -> None:
    (row,) = _read("conll", b"1\tParis\tB-LOC\tNNP\n", text="2", target="3")
    assert (row.fields["text"], row.fields["spans"][0]["label"]) == ("Paris", "LOC")
    for wrong in ("0", "word"):
        with pytest.raises(Invalid, match="names no column"):
            _read("conll", b"a O\n", text=wrong)
    assert "2 columns" in _read("conll", b"a O\n", target="3")[0].problem


def test_spacing_is_put_together_from_tokens() -> None:
    line = 'He said : " It is n\'t $ 5 ( 10 % ) , is it ? " .'
    words = line.split()
    text, starts = join(words)
    assert text == 'He said: "It isn\'t $5 (10%), is it?".'
    assert all(text.startswith(word, start) for word, start in zip(words, starts, strict=True))


def test_a_conversation_gives_its_last_question_and_answer() -> None:
    def line(*messages: Any, **others: Any) -> bytes:
        return json.dumps({"messages": list(messages), **others}).encode() + b"\n"

    def said(role: str, content: Any, **others: Any) -> dict[str, Any]:
        return {"role": role, "content": content, **others}

    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    content = b"".join(
        [
            line(said("system", "s"), said("user", "q"), said("assistant", "good")),
            line(
                said("user", "1"),
                said("assistant", "x"),
                said("user", parts),
                said("assistant", "y"),
            ),
            line(said("user", "q")),
            line(said("assistant", "y")),
            line(said("user", "q"), said("assistant", "y", weight=0)),
            line(said("user", [{"type": "image_url"}]), said("assistant", "y")),
            line(said("user", "q"), said("assistant", None, tool_calls=[{}])),
            b"{\n",
            b'{"messages": 5}\n',
        ]
    )
    rows = _read("chat", content)
    assert [dict(row.fields) for row in rows[:2]] == [
        {"text": "q", "target": "good"},
        {"text": "ab", "target": "y"},
    ]
    assert all(row.problem for row in rows[2:])
    assert [row.line for row in rows] == list(range(1, 10))


def test_what_a_chat_says_to_a_model() -> None:
    record = Record(
        text="q", target={"label": "bad"}, weight=1.0, quality=1.0, group=None, split="train"
    )
    content, _ = _write("chat", SPECS[TaskKind.CHOICE], [record])
    system, user, assistant = msgspec.json.decode(content)["messages"]
    assert system["content"].startswith("About it. Answer with exactly one of these words: bad, ")
    assert (user["content"], assistant["content"]) == ("q", "bad")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"{}", "csv"),
        ("a.CSV.gz", b"", "csv"),
        ("a.jsonl", b'{"text": "x"}', "jsonl"),
        ("a.jsonl", b"", "jsonl"),
        ("a.jsonl", b'{\n{"messages": []}', "chat"),
        ("a.conll.gz", b"", "conll"),
        ("a.spacy", b"", "docbin"),
        ("a.pq", b"", "parquet"),
        ("train.txt", b"-DOCSTART- O\n\nEU B-ORG\nis O\n", "conll"),
        ("train", b"PAR1...", "parquet"),
        ("train", b'\xef\xbb\xbf {"text": "x"}\n', "jsonl"),
    ],
)
def test_a_format_is_told_by_name_or_content(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert format_of(path) == expected


def test_a_feedback_log_is_sent_to_its_own_command(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text('{"timestamp": "", "event": "x", "details": {}}\n', encoding="utf-8")
    with pytest.raises(Invalid, match="feedback log") as refused:
        format_of(path)
    assert "feedback import old.jsonl --log TASK" in refused.value.hint


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    needed = (("parquet", "pyarrow", "parquet"), ("docbin", "spacy.tokens", "spacy"))
    for name, module, extra in needed:
        monkeypatch.delitem(sys.modules, f"inhouse.datasets.formats.{name}", raising=False)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(Invalid) as refused:
            load(name)
        assert refused.value.code == "missing-extra"
        assert refused.value.hint == f"pip install 'inhouse[{extra}]'"
    with pytest.raises(Invalid, match="is no format"):
        load("xlsx")


@pytest.mark.parametrize("name", ["parquet", "docbin"])
def test_something_else_under_a_binary_name_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"text,label\none,good\n")
    read = {"parquet": columns_of, "docbin": lambda *given: list(read_rows(*given, {}))}[name]
    with pytest.raises(Invalid) as refused:
        read(path, name)
    assert refused.value.code == "import-format"


def test_a_damaged_archive_costs_what_lies_behind_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    lines = b"".join(b'{"text": "%d", "label": "good"}\n' % n for n in range(20_000))
    path.write_bytes(gzip.compress(lines)[:-5_000])
    *whole, last = read_rows(path, "jsonl", {})
    assert len(whole) > 1000
    assert "nothing can be read from here on" in last.problem
    assert last.line == len(whole) + 1
    path.write_bytes(b"no archive")
    with pytest.raises(Invalid, match="cannot be read"):
        columns_of(path, "jsonl")


def test_every_format_has_an_ending_that_says_it(tmp_path: Path) -> None:
    for name in FORMATS:
        path = tmp_path / f"x.{ENDINGS[name]}"
        path.write_bytes(b'{"messages": []}' if name == "chat" else b"")
        assert format_of(path) == name


@pytest.mark.data
def test_the_public_files_of_tags_come_in_whole(bench_data: Path) -> None:
    for name, sentences in (("wnut17", 5690), ("crossner_politics", 1392)):
        rows = list(read_rows(bench_data / "news" / f"{name}.conll.gz", "conll", {}))
        assert [row.problem for row in rows if row.problem] == []
        assert len(rows) == sentences


@pytest.mark.parametrize("name", ["csv", "jsonl", "chat", "conll"])
def test_no_bytes_break_a_reader_of_text(name: str) -> None:
    words = rb"""# text = |# text_json = |O|B-X|a|,|"|{|}|{"messages": |[{"role": "user"}]"""
    pieces = st.sampled_from([*words.split(b"|"), b"\t", b" ", b"\n", b"\r", b"\xff", b"\0"])

    @settings(max_examples=60, deadline=None)
    @given(st.lists(pieces | st.binary(max_size=4), max_size=12).map(b"".join))
    def holds(content: bytes) -> None:
        for row in _read(name, b"text,label\n" * (name == "csv") + content):
            assert row.line >= 1
            assert row.problem or row.fields
            assert msgspec.json.encode(row.fields)

    holds()


def test_a_docbin_that_unpacks_to_too_much_is_refused_before_it_is_held() -> None:
    packing = zlib.compressobj(1)
    packed = [packing.compress(bytes(2**20)) for _ in range(docbin.LARGEST // 2**20)]
    content = BytesIO(b"".join([*packed, packing.compress(b"0"), packing.flush()]))
    del packed
    tracemalloc.start()
    with pytest.raises(Invalid, match="over 512 MiB") as refused:
        list(docbin.read(content, {}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.code == "import-size"
    assert "several files" in refused.value.hint
    assert peak < 16 * 2**20


def test_a_docbin_of_just_the_size_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record(
        text="a text", target={"label": "bad"}, weight=1.0, quality=1.0, group="g", split="train"
    )
    content, _ = _write("docbin", SPECS[TaskKind.CHOICE], [record] * 3)
    size = len(zlib.decompress(content))
    monkeypatch.setattr(docbin, "LARGEST", size)
    assert len(_read("docbin", content)) == 3
    monkeypatch.setattr(docbin, "LARGEST", size - 1)
    with pytest.raises(Invalid):
        _read("docbin", content)


@pytest.mark.parametrize("below", [1, 100])
def test_a_docbin_that_nobody_could_read_back_is_not_written(
    monkeypatch: pytest.MonkeyPatch, below: int
) -> None:
    """Neither one that is known to be too large by its words, nor one by all that it holds."""
    record = Record(
        text="a text", target={"label": "bad"}, weight=1.0, quality=1.0, group="g", split="train"
    )
    content, _ = _write("docbin", SPECS[TaskKind.CHOICE], [record] * 3)
    size = len(zlib.decompress(content))
    monkeypatch.setattr(docbin, "LARGEST", size // below if below > 1 else size - 1)
    file = BytesIO()
    with pytest.raises(Invalid) as refused:
        docbin.write(file, SPECS[TaskKind.CHOICE], [record] * 3)
    assert (refused.value.code, file.getvalue()) == ("export-size", b"")


@pytest.mark.parametrize("name", ["parquet", "docbin"])
def test_a_flipped_byte_of_a_binary_file_is_an_error_of_ours(name: str) -> None:
    spec = SPECS[TaskKind.CHOICE]
    record = Record(
        text="a text", target={"label": "bad"}, weight=1.0, quality=1.0, group="g", split="train"
    )
    content, _ = _write(name, spec, [record] * 3)
    refused: list[str] = []

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, len(content) - 1), st.integers(1, 255))
    def holds(place: int, change: int) -> None:
        damaged = bytearray(content)
        damaged[place] ^= change
        try:
            rows = _read(name, bytes(damaged))
        except Invalid as error:
            refused.append(error.code)
        else:
            assert len(rows) <= 4

    holds()
    assert set(refused) == {"import-format"}


@pytest.mark.parametrize(
    ("name", "before", "row"),
    [
        ("jsonl", b"", b'{"text": "a", "label": "b"}\n'),
        ("csv", b"text,label\n", b"a,b\n"),
        ("conll", b"", b"Ada\tB-PERSON\n\n"),
    ],
)
def test_a_line_without_end_is_a_bad_row_and_not_kept(
    tmp_path: Path, name: str, before: bytes, row: bytes
) -> None:
    """A packed file of some kilobytes may hold a line of gigabytes."""
    path = tmp_path / f"bomb.{name}.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(before + row)
        for _ in range(80):
            file.write(b"x" * 1_000_000)
        file.write(b"\n" + row)
    columns_of(path, name)
    assert format_of(path) == name
    tracemalloc.start()
    rows = list(read_rows(path, name, {}))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [bool(one.problem) for one in (rows[0], rows[-1])] == [False, False]
    assert {bool(one.problem) for one in rows[1:-1]} == {True}
    assert most < 72_000_000


def test_cutting_takes_time_by_the_text_and_not_by_its_spans() -> None:
    text = "ab " * 50_000
    spans = [{"start": at, "end": at + 1} for at in range(0, len(text), 3)]
    pieces = cut(text, spans)
    assert pieces[:4] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert len(pieces) == 150_000

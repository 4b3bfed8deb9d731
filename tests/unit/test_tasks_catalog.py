"""From inhouse.toml to tasks: what is accepted, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inhouse.core.errors import Invalid, NotFound
from inhouse.settings import load_settings
from inhouse.tasks.catalog import Catalog, builtin_names, load_catalog
from inhouse.tasks.prompts import count_pieces, fit, render
from inhouse.tasks.scoring import calibration_error, figures, item_score, macro_f1, pearson
from inhouse.tasks.spec import TaskKind


def _catalog(folder: Path, text: str) -> Catalog:
    (folder / "inhouse.toml").write_text(text, encoding="utf-8")
    return load_catalog(load_settings(folder, environment={}))


def test_a_builtin_comes_in_both_kinds(tmp_path: Path) -> None:
    catalog = _catalog(
        tmp_path,
        """
        [tasks.sentiment]
        builtin = "sentiment"
        chain = ["embedded/smollm2-135m"]
        [tasks.mood]
        builtin = "sentiment"
        kind = "choice"
        timeout_s = 3
        [tasks.bias]
        builtin = "bias"
        on_failure = { value = "unbiased" }
        """,
    )
    assert {"bias", "sentiment"} <= set(builtin_names())
    sentiment, mood, bias = (catalog.get(n) for n in ("sentiment", "mood", "bias"))
    assert (sentiment.kind, sentiment.low, sentiment.high) == (TaskKind.SCORE, -1.0, 1.0)
    assert sentiment.words == ("negative", "neutral", "positive")
    assert (mood.kind, mood.timeout_s) == (TaskKind.CHOICE, 3)
    assert bias.on_failure == {"label": "unbiased"}
    assert len({sentiment.revision, mood.revision, bias.revision}) == 3
    assert "Prices rise" in render(mood, "Prices rise")
    with pytest.raises(NotFound, match="no task 'other'"):
        catalog.get("other")


def test_the_revision_follows_what_makes_answers_comparable(tmp_path: Path) -> None:
    base = '[tasks.t]\nkind = "choice"\nlabels = ["a", "b"]\nprompt = "{{ input }}"\n'
    first = _catalog(tmp_path, base).get("t")
    assert _catalog(tmp_path, base + "timeout_s = 1\n").get("t").revision == first.revision
    other = base.replace('["a", "b"]', '["a", "b", "c"]')
    assert _catalog(tmp_path, other).get("t").revision != first.revision
    assert _catalog(tmp_path, base.replace("input }}", "input }}!")).get("t") != first


JUDGED = '[tasks.t]\nbuiltin = "bias"\n[tasks.t.rollout]\njudge = '
SPANS = '[tasks.t]\nkind = "spans"\nprompt = "x"\nlabels = ["A"]\n'
JSON = """
[tasks.t]
kind = "json"
prompt = "Answer with {{ answer }}: {{ schema }} {{ input }}"
schema = { type = "object", properties = { mood = { enum = ["good", "bad"] } } }
"""


def test_spans_and_json_are_declared(tmp_path: Path) -> None:
    spans = _catalog(tmp_path, SPANS + "on_failure = { value = [] }").get("t")
    assert (spans.kind, spans.labels, spans.on_long) == (TaskKind.SPANS, ("A",), "head")
    assert spans.on_failure == {"spans": []}
    assert spans.words == ()
    inline = _catalog(tmp_path, JSON).get("t")
    assert inline.schema == {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}}
    assert '"enum":["good","bad"]' in render(inline, "x")
    table = '[tasks.t]\nkind = "json"\nprompt = "x"\nschema = "mood.json"\n'
    (tmp_path / "mood.json").write_text(json.dumps(inline.schema), encoding="utf-8")
    assert _catalog(tmp_path, table).get("t").schema == inline.schema
    (tmp_path / "mood.json").write_text('{"type": "object",}', encoding="utf-8")
    with pytest.raises(Invalid, match=r"tasks.t: schema: .*mood.json: not JSON"):
        _catalog(tmp_path, table)
    (tmp_path / "mood.json").write_text('{"type": "object"}', encoding="utf-8")
    with pytest.raises(Invalid, match=r"inhouse.toml:4: tasks.t: schema: it names no properties"):
        _catalog(tmp_path, table)


def test_the_schema_is_of_the_revision(tmp_path: Path) -> None:
    first = _catalog(tmp_path, JSON).get("t").revision
    assert _catalog(tmp_path, JSON.replace('"bad"', '"sad"')).get("t").revision != first
    assert _catalog(tmp_path, JSON + "timeout_s = 1").get("t").revision == first


def test_the_revision_of_a_choice_is_what_it_was(tmp_path: Path) -> None:
    """What was recorded under a revision stays comparable over releases."""
    spec = _catalog(tmp_path, '[tasks.t]\nkind="choice"\nlabels=["a","b"]\nprompt="x"').get("t")
    assert spec.revision == "4a7baaa4865b9b09"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[tasks.t]\nkind = "choice"\nprompt = "x"', "tasks.t: labels"),
        ('[tasks.t]\nbuiltin = "nothing"', "tasks.t: builtin: there is no 'nothing'"),
        (
            '[tasks.t]\nbuiltin = "summary"\nkind = "choice"',
            "tasks.t: kind: 'summary' is no choice",
        ),
        ('[tasks.t]\nbuiltin = "bias"\nchain = ["here/model"]', "names no declared upstream"),
        ('[tasks.t]\nbuiltin = "bias"\nchain = ["task:t"]', "is a task, not a model"),
        ('[tasks.t]\nbuiltin = "bias"\nchain = ["nonsense"]', "not a model reference"),
        (f'{JUDGED}"here/model"', "toml:4: tasks.t: rollout.judge: 'here/model' names no declared"),
        (f'{JUDGED}"t@1"', "rollout.judge: 't@1' is no general model"),
        (f'{JUDGED}"nonsense"', "rollout.judge: 'nonsense' is not a model reference"),
        (
            f'{JUDGED}"embedded/any"'.replace("bias", "summary"),
            "rollout.judge: two right texts differ",
        ),
        ("[tasks.t.rollout]\nsteps = [10, inf]", "steps.1: Input should be less than or equal"),
        ("[tasks.t.rollout]\ndwell_s = inf", "toml:2: tasks.t.rollout.dwell_s: Input should be"),
        ('[tasks.t]\nkind = "score"\nprompt = "x"\nrange = [1, 0]', "lowest value comes first"),
        (
            '[tasks.t]\nkind = "score"\nprompt = "x"\nlevels = { a = 0, b = 1, c = 1.0 }',
            "every value is there once",
        ),
        ('[tasks.t]\nbuiltin = "bias"\nprompt = "{{ input "', "tasks.t: prompt: line 1"),
        ('[tasks.t]\nbuiltin = "bias"\nprompt = "gone.jinja"', "gone.jinja: No such file"),
        ('[tasks.t]\nbuiltin = "bias"\non_failure = { value = "odd" }', "no label of t"),
        ('[tasks.t]\nbuiltin = "bias"\nlables = []', "tasks.t.lables: unknown key"),
        ('[tasks.t]\nkind = "spans"\nprompt = "x"', "tasks.t: labels: spans need at least one"),
        ('[tasks.t]\nkind = "spans"\nprompt = "x"\nlabels = ["A", "A"]', "all different"),
        (f'{SPANS}on_long = "window"', "tasks.t: on_long: a spans task keeps the head"),
        (f"{SPANS}range = [0, 1]", "tasks.t: range: a spans task has none"),
        (
            f'{SPANS}on_failure = {{ value = [{{ text = "x", label = "A" }}] }}',
            "nobody knows the text",
        ),
        (f'{SPANS}on_failure = {{ value = "A" }}', "spans are a list"),
        ('[tasks.t]\nkind = "json"\nprompt = "x"', 'tasks.t: schema: its "type" is "object"'),
        ('[tasks.t]\nkind = "json"\nprompt = "x"\nschema = "gone.json"', "gone.json: No such"),
        ('[tasks.t]\nkind = "json"\nprompt = "x"\nlabels = ["A"]', "labels: json has none"),
        ('[tasks.t]\nkind = "text"\nprompt = "x"\nlabels = ["A"]', "labels: a text has none"),
        ('[tasks.t]\nbuiltin = "bias"\nschema = { type = "object" }', "schema: a choice has none"),
        (f"{JSON}on_failure = {{ value = {{ mood = 3 }} }}", "no output of t: mood: 3"),
        ('[tasks."A b"]\nbuiltin = "bias"', "tasks.A b"),
        ("[server]\nport = 70000", "server.port"),
        ("[nowhere]\n", "nowhere: unknown key"),
        ("[tasks.t\n", "inhouse.toml"),
    ],
)
def test_a_bad_file_names_the_key_and_the_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        _catalog(tmp_path, text)
    assert message in caught.value.message


@pytest.mark.parametrize("prompt", ["{{ nothing }}", "{{ input + 1 }}", "{{ 1 // 0 }}"])
def test_a_prompt_that_fails_says_so(tmp_path: Path, prompt: str) -> None:
    spec = _catalog(tmp_path, f'[tasks.t]\nbuiltin = "bias"\nprompt = "{prompt}"').get("t")
    with pytest.raises(Invalid, match="prompt of task t") as caught:
        render(spec, "text")
    assert caught.value.code == "prompt"


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    (tmp_path / "inhouse.toml").write_text(
        '[upstreams.local]\nbase_url = "http://localhost:1/v1"\n', encoding="utf-8"
    )
    found = load_settings(
        tmp_path,
        environment={
            "INHOUSE_UPSTREAMS__LOCAL__API_KEY": "hush",
            "INHOUSE_SERVER__PORT": "9000",
            "INHOUSE_FORCE__SENTIMENT": "local/x",
            "INHOUSE_REQUIRE": "postgres",
        },
    )
    assert found.upstreams["local"].api_key.get_secret_value() == "hush"
    assert "hush" not in repr(found)
    assert (found.server.port, found.force) == (9000, {"sentiment": "local/x"})


def test_lists_and_tables_of_the_environment_are_json(tmp_path: Path) -> None:
    environment = {
        "INHOUSE_RECORDING__REDACT": '["email", "card"]',
        "INHOUSE_RECORDING__REDACT_PATTERNS": '{"code": "x{3}"}',
        "INHOUSE_TASKS__MOOD__PROMPT": "{{ input }}",
        "INHOUSE_TASKS__MOOD__LABELS": '["a", "b"]',
        "INHOUSE_TASKS__MOOD__KIND": "choice",
    }
    found = load_settings(tmp_path, environment)
    assert found.recording.redact == ("email", "card")
    assert found.recording.redact_patterns == {"code": "x{3}"}
    assert load_catalog(found).get("mood").prompt == "{{ input }}"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"INHOUSE_RECORDING__REDACT": '["email"'}, "recording.redact: not JSON"),
        ({"INHOUSE_A": "1", "INHOUSE_A__B": "1", "INHOUSE_A__B__C": "1"}, "INHOUSE_A__B__C"),
        ({"INHOUSE_A__B__C": "1", "INHOUSE_A__B": "1"}, "INHOUSE_A__B"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused(
    tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(Invalid) as caught:
        load_settings(tmp_path, environment)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('base_url = "localhost:11434/v1"', "does not begin with http:// or https://"),
        ('base_url = "ftp://host/v1"', "does not begin with http:// or https://"),
        ('base_url = "http:///v1"', "names no host"),
        ('base_url = "http://a b/v1"', "holds a space or a line end"),
        ('base_url = "http://host/v1\\n"', "holds a space or a line end"),
        ('base_url = "http://host:99999/v1"', "has a port that there cannot be"),
        ('base_url = "http://[::1/v1"', "is no URL"),
        ('base_url = "http://me:hush@host/v1"', "holds a name or password"),
        ('base_url = "http://host/v1#hush"', "holds a '#'"),
        ('base_url = "http://host/ü"', "write it as %XX"),
        ('base_url = "http://host"\napi_key = "hush\\n"', "copy it again"),
        ('base_url = "http://host"\napi_key = "schlüssel"', "copy it again"),
    ],
)
def test_an_upstream_that_could_never_be_asked_is_refused_with_its_line(
    tmp_path: Path, line: str, reason: str
) -> None:
    (tmp_path / "inhouse.toml").write_text(f"[upstreams.up]\n{line}\n", encoding="utf-8")
    with pytest.raises(Invalid) as caught:
        load_settings(tmp_path, {})
    key, number = ("api_key", 3) if "api_key" in line else ("base_url", 2)
    assert f"inhouse.toml:{number}: upstreams.up.{key}: " in caught.value.message
    assert reason in caught.value.message
    assert "hush" not in caught.value.message
    assert "schlüssel" not in caught.value.message


@pytest.mark.parametrize(
    ("on_long", "kept"),
    [("head", ("word0", None)), ("window", ("word0", "word499")), ("refuse", None)],
)
def test_long_input_is_cut_as_declared(
    tmp_path: Path, on_long: str, kept: tuple[str, str | None] | None
) -> None:
    text = f'[tasks.t]\nbuiltin = "bias"\nmax_input_tokens = 100\non_long = "{on_long}"\n'
    spec = _catalog(tmp_path, text).get("t")
    long = " ".join(f"word{n}" for n in range(500))
    assert fit(spec, "short enough") == "short enough"
    if kept is None:
        with pytest.raises(Invalid, match="takes 100"):
            fit(spec, long)
        return
    sent = fit(spec, long)
    assert count_pieces(sent) <= 106
    assert sent.startswith("word0 ")
    assert sent.endswith("word499") is (kept[1] == "word499")


def test_scores_have_their_definitions(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path, '[tasks.c]\nbuiltin="bias"\n[tasks.s]\nbuiltin="sentiment"\n')
    choice, score = catalog.get("c"), catalog.get("s")
    assert item_score(choice, {"label": "biased"}, {"label": "biased"}) == 1.0
    assert item_score(choice, None, {"label": "biased"}) == 0.0
    assert item_score(score, {"value": 0.5}, {"value": -0.5}) == pytest.approx(0.5)
    assert macro_f1(["a", "b", None], ["a", "a", "b"], ["a", "b"]) == pytest.approx(1 / 3)
    assert pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert pearson([1, 1], [1, 2]) == 0.0
    assert figures(score, [{"value": 1.0}, None], [{"value": 0.0}, {"value": 0.0}]) == {
        "pearson": 0.0,
        "mae": pytest.approx(1.5),
    }
    assert calibration_error([0.8] * 100, [n < 80 for n in range(100)], bins=1) == pytest.approx(0)
    assert calibration_error([0.9] * 50, [False] * 50) == pytest.approx(0.9)

"""Manifests: their JSON is canonical, survives the round trip and holds only what it may."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from inhouse.core.errors import Invalid
from inhouse.store.manifest import Draft, FileEntry, Lineage, Manifest, VariantSpec, compose

NOW = datetime(2025, 11, 23, 9, 30, 5, 123456, tzinfo=UTC)
WEIGHTS = VariantSpec(id="onnx-int8", format="onnx", dtype="int8", files=("model.onnx",))

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
_digest = st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}")
_segment = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,6}", fullmatch=True)


def entry(path: str, size: int = 3, digest: str = "sha256:" + "0" * 64) -> FileEntry:
    return FileEntry(path=path, digest=digest, size=size, media_type="text/plain")


def draft(**changes: object) -> Draft:
    return Draft.model_validate(
        {"kind": "encoder", "license": "Apache-2.0", "variants": (WEIGHTS,), **changes}
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    paths = draw(st.lists(_segment, unique_by=str.lower, max_size=3))
    files = [entry(f"extra/{path}.txt", draw(st.integers(0, 9))) for path in paths]
    files.append(entry("model.onnx", draw(st.integers(0, 2**40)), draw(_digest)))
    made = draft(
        source=draw(st.dictionaries(_text, _json, max_size=2)),
        metadata=draw(st.dictionaries(_text, _json, max_size=4)),
        evaluation=draw(st.none() | st.dictionaries(_text, _json, max_size=2)),
        lineage=Lineage(seed=draw(st.none() | st.integers()), parents=(draw(_digest),)),
    )
    moment = draw(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1))).replace(tzinfo=UTC)  # noqa: DTZ001
    return compose(made, "sentiment", moment, files)


@settings(deadline=None, max_examples=150)
@given(manifests())
def test_a_manifest_survives_the_round_trip(manifest: Manifest) -> None:
    data = manifest.to_json()
    again = Manifest.model_validate_json(data)
    assert again == manifest
    assert again.to_json() == data
    assert manifest.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_the_version_says_when_and_what() -> None:
    made = compose(draft(), "sentiment", NOW, [entry("model.onnx")])
    later = compose(draft(), "sentiment", NOW + timedelta(hours=1), [entry("model.onnx")])
    other = compose(draft(metadata={"labels": ["a"]}), "sentiment", NOW, [entry("model.onnx")])
    assert made.version.startswith("20251123T093005Z-")
    assert made.created_at == NOW.replace(microsecond=0)
    assert later.version.split("-")[1] == made.version.split("-")[1]
    assert other.version.split("-")[1] != made.version.split("-")[1]


def test_variants_are_weighed_and_the_first_is_the_default() -> None:
    second = VariantSpec(
        id="onnx-fp32", format="onnx", dtype="fp32", files=("big.onnx", "big.onnx.json")
    )
    files = [entry("model.onnx", 4), entry("big.onnx", 10), entry("big.onnx.json", 1)]
    made = compose(draft(variants=(WEIGHTS, second)), "sentiment", NOW, files)
    assert made.default_variant == "onnx-int8"
    assert made.variant().bytes == 4
    assert made.variant("onnx-fp32").bytes == 11
    with pytest.raises(Invalid, match="no variant 'gguf'"):
        made.variant("gguf")


@pytest.mark.parametrize(
    ("changes", "files", "reason"),
    [
        ({}, ["other.onnx"], "not there"),
        ({"default_variant": "onnx-fp16"}, ["model.onnx"], "default variant"),
        ({"variants": (WEIGHTS, WEIGHTS)}, ["model.onnx"], "unique"),
        ({}, ["model.onnx", "a.txt", "A.txt"], "differ only by case"),
        ({"variants": (WEIGHTS.model_copy(update={"format": "gguf"}),)}, ["model.onnx"], ".gguf"),
        ({"metadata": {"x": "\ud800"}}, ["model.onnx"], "surrogates"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    changes: dict[str, object], files: list[str], reason: str
) -> None:
    with pytest.raises(Invalid, match=reason) as refused:
        compose(draft(**changes), "sentiment", NOW, [entry(path) for path in files])
    assert refused.value.code == "manifest"
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    "path",
    ["../up", "a/../b", "/etc/passwd", "a//b", "a/", "", ".", "./a", "a b", "a\n", "ä", "a\\b",
     "manifest.json", "manifest.sha256"],
)  # fmt: skip
def test_paths_that_leave_the_version_are_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        entry(path)
    with pytest.raises(ValidationError):
        VariantSpec(id="onnx-fp32", format="onnx", dtype="fp32", files=(path,))


def test_only_utc_finite_numbers_and_known_fields() -> None:
    plain = compose(draft(), "sentiment", NOW, [entry("model.onnx")]).model_dump(by_alias=True)
    elsewhere = NOW.astimezone(timezone(timedelta(hours=2)))
    for change in (
        {"created_at": elsewhere},
        {"created_at": NOW.replace(tzinfo=None)},
        {"metadata": {"x": float("nan")}},
        {"schema": "inhouse.model/2"},
        {"kind": "adapter"},
        {"surprise": 1},
        {"name": "../up"},
        {"version": "latest"},
    ):
        with pytest.raises(ValidationError):
            Manifest.model_validate({**plain, **change})

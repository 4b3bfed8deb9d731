"""References to open backends: nothing of what callers may invent is kept for good."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inhouse.core.errors import InhouseError, Invalid, NotFound
from inhouse.db.unit import Database
from inhouse.serving.backends import MOST_MODELS, Backends
from inhouse.settings import Settings, UpstreamSettings
from inhouse.store.store import ModelStore
from inhouse.testing.clock import FrozenClock

SOME = {"some": UpstreamSettings(base_url="http://127.0.0.1:9/v1")}


@pytest.fixture
def backends(sqlite_database: Database, clock: FrozenClock, tmp_path: Path) -> Backends:
    settings = Settings(folder=tmp_path, upstreams=SOME)
    return Backends(settings, sqlite_database, ModelStore(tmp_path / "store", clock))


def test_a_model_of_an_upstream_is_the_same_object(backends: Backends) -> None:
    assert backends.resolve("some/model") is backends.resolve("some/model")


def test_invented_models_are_not_kept_for_good(backends: Backends) -> None:
    first = backends.resolve("some/first")
    for number in range(3 * MOST_MODELS):
        assert backends.resolve(f"some/invented-{number}").reference == f"some/invented-{number}"
    assert len(backends.open_references()) == MOST_MODELS
    assert backends.resolve("some/first") is not first


def test_changed_settings_drop_the_models_of_their_upstream(
    backends: Backends, tmp_path: Path
) -> None:
    other = {"other": UpstreamSettings(base_url="http://127.0.0.1:9/v1")}
    backends.configure(Settings(folder=tmp_path, upstreams={**SOME, **other}))
    dropped, kept = backends.resolve("some/model"), backends.resolve("other/model")
    moved = {"some": UpstreamSettings(base_url="http://127.0.0.1:8/v1")}
    assert backends.configure(Settings(folder=tmp_path, upstreams={**moved, **other})) == [dropped]
    assert backends.open_references() == ["other/model"]
    assert backends.resolve("other/model") is kept
    assert backends.resolve("some/model") is not dropped


@pytest.mark.parametrize("reference", ["nowhere/model", "sentiment@7", "embedded/nothing"])
def test_what_there_is_not_leaves_nothing_behind(backends: Backends, reference: str) -> None:
    with pytest.raises(InhouseError):
        backends.resolve(reference)
    assert backends.open_references() == []
    assert not backends._locks


def test_what_no_call_would_reach_gets_none(backends: Backends) -> None:
    backends.check("some/model", "sentiment@1", None, "")
    for reference, why in (
        ("smoe/model", "smoe/model names no declared upstream"),
        ("embedded/smollm2", "embedded/smollm2 names no base of the ModelStore"),
    ):
        with pytest.raises(Invalid, match=why):
            backends.check("some/model", reference)


def test_callers_at_the_same_moment_open_one_model_each_in_turn(
    backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(4)
    inside: list[int] = []

    def alone(make: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            inside.append(1)
            try:
                assert len(inside) == 1
                return make(*arguments)
            finally:
                inside.pop()

        return counted

    monkeypatch.setattr(backends, "_make", alone(backends._make))

    def ask(_: int) -> str:
        together.wait(10)
        with pytest.raises(NotFound):
            backends.resolve("sentiment@7")
        return "refused"

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == ["refused"] * 4
    assert not backends._locks

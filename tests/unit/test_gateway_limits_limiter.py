"""The limiter: minutes and days, of keys, upstreams and the server; warn, throttle, refuse."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from sqlalchemy import insert, update

from inhouse.core.errors import BackendError, Exhausted
from inhouse.core.ids import KeyId
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.gateway.keys import Key, KeyRing, Role, create, list_keys, revoke, set_limits
from inhouse.gateway.limits import metrics
from inhouse.gateway.limits.limiter import Limiter
from inhouse.gateway.limits.report import LimitLine
from inhouse.interactions.record import Spending
from inhouse.interactions.tables import Spent
from inhouse.settings import LimitSettings
from inhouse.testing.clock import FrozenClock

NONE = LimitSettings()
TODAY = "2026-01-01"


class Setting:
    """A limiter over a database, as one gateway process has it."""

    def __init__(self, database: Database, clock: FrozenClock, process_id: str = "me") -> None:
        self.database, self.clock = database, clock
        self.keys = KeyRing(database)
        self.limiter = Limiter(
            database, clock=clock, process_id=process_id, server=NONE, upstreams={}, keys=self.keys
        )
        self.refresh()

    def refresh(self) -> None:
        self.keys.refresh()
        self.limiter.mirror.refresh()

    def configure(
        self, server: LimitSettings = NONE, upstreams: dict[str, LimitSettings] | None = None
    ) -> Limiter:
        self.limiter.configure(server=server, upstreams=upstreams or {})
        return self.limiter

    def key(self, limits: LimitSettings | None = None, name: str = "news") -> Key:
        with self.database.write() as unit:
            key_id, _ = create(unit, name, Role.APPLICATION, self.clock.now(), limits)
        self.refresh()
        return self.seen(key_id)

    def seen(self, key_id: KeyId) -> Key:
        return next(key for key in self.keys.all() if key.id == key_id)

    def spent(self, process: str, requests: int, *, key: str = "", up: str = "", **more) -> None:
        row = {"day": TODAY, "process": process, "key_id": key, "upstream": up}
        row |= {"requests": requests, "tokens": 0, "cost": 0.0, **more}
        with self.database.write() as unit:
            unit.execute(insert(table_of(Spent)).values(**row))


@pytest.fixture
def setting(sqlite_database: Database, clock: FrozenClock) -> Setting:
    return Setting(sqlite_database, clock)


def refused(limiter: Limiter, key: Key | None = None) -> Exhausted:
    with pytest.raises(Exhausted) as caught:
        limiter.admit(key)
    return caught.value


def cost(amount: float, upstream: str = "", tokens: int = 0) -> list[Spending]:
    return [Spending(upstream, 1, tokens, amount)]


def test_without_limits_nobody_has_to_ask(setting: Setting) -> None:
    assert setting.limiter.idle
    key = setting.key()
    assert setting.limiter.idle
    with setting.database.write() as unit:
        set_limits(unit, key.id, LimitSettings(requests_per_day=1))
    setting.refresh()
    assert not setting.limiter.idle
    with setting.database.write() as unit:
        revoke(unit, key.id, setting.clock.now())
    setting.refresh()
    assert setting.limiter.idle, "a revoked key limits nothing"
    assert not setting.configure(LimitSettings(cost_per_day=1)).idle, "at once"
    setting.configure()
    setting.refresh()
    assert setting.limiter.idle
    assert not setting.configure(upstreams={"up": LimitSettings(tokens_per_minute=9)}).idle


def test_calls_of_before_the_first_limit_count_once_they_are_recorded(setting: Setting) -> None:
    """They were admitted while nobody asked, and their rows come after the first look."""
    key, limiter = setting.key(LimitSettings(requests_per_day=9)), setting.limiter

    def used() -> float:
        setting.refresh()
        return next(line.used for line in limiter.lines() if line.id == key.id)

    assert used() == 0
    setting.spent("me", 2, key=key.id)
    assert used() == 2
    limiter.admit(key)
    assert used() == 3, "one that is not recorded yet"
    with setting.database.write() as unit:
        unit.execute(update(table_of(Spent)).values(requests=3))
    assert used() == 3, "the same, recorded"
    setting.spent("other", 4, key=key.id)
    assert used() == 7


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"requests_per_minute": 2}, "limit-requests"),
        ({"tokens_per_minute": 200}, "limit-tokens"),
        ({"requests_per_day": 2}, "budget-requests"),
        ({"tokens_per_day": 200}, "budget-tokens"),
        ({"cost_per_day": 0.2}, "budget-cost"),
    ],
)
def test_each_limit_refuses_what_is_over_it(setting: Setting, limits: dict, code: str) -> None:
    key, other = setting.key(LimitSettings(**limits)), setting.key(name="free")
    limiter = setting.limiter
    for _ in range(2):
        limiter.admit(key)
        limiter.spend(key.id, cost(0.1, tokens=100))
    error = refused(limiter, key)
    assert error.code == code
    assert error.message.startswith("key news: ")
    (most,) = limits.values()
    assert f" of {most} " in error.message
    assert limiter.admit(other).delay_s == 0
    by_minute = code.startswith("limit")
    assert error.retry_after == pytest.approx(60.25 if by_minute else 86_400, abs=0.01)
    setting.clock.advance(error.retry_after - 0.3)
    refused(limiter, key)
    setting.clock.advance(0.3)
    limiter.admit(key)


def test_the_servers_limit_holds_over_all_keys(setting: Setting) -> None:
    limiter = setting.configure(LimitSettings(requests_per_day=3))
    first, second = setting.key(name="a"), setting.key(name="b")
    for key in (first, second, None):
        limiter.admit(key)
    assert refused(limiter, first).message == "this server: 3 of 3 requests of today are used up"
    refused(limiter)


def test_a_refused_call_counts_for_nobody(setting: Setting) -> None:
    limiter = setting.configure(LimitSettings(requests_per_day=5))
    key = setting.key(LimitSettings(requests_per_day=1))
    limiter.admit(key)
    for _ in range(10):
        assert refused(limiter, key).code == "budget-requests"
    for _ in range(4):
        limiter.admit(None)
    refused(limiter)


def test_of_two_refusals_the_longer_is_told(setting: Setting) -> None:
    limiter = setting.configure(LimitSettings(requests_per_minute=1))
    key = setting.key(LimitSettings(requests_per_day=1))
    limiter.admit(key)
    assert refused(limiter, key).code == "budget-requests"


def test_a_day_ends_at_midnight_utc(sqlite_database: Database) -> None:
    setting = Setting(sqlite_database, FrozenClock(datetime(2026, 1, 1, 23, 59, 30, tzinfo=UTC)))
    key = setting.key(LimitSettings(requests_per_day=1, tokens_per_day=10, cost_per_day=1))
    setting.spent("other", 1, key=key.id, tokens=10, cost=1.0)
    setting.refresh()
    error = refused(setting.limiter, key)
    assert error.retry_after == 30
    setting.clock.advance(29.5)
    refused(setting.limiter, key)
    setting.clock.advance(0.5)
    setting.limiter.admit(key)
    setting.limiter.spend(key.id, cost(0.5))
    setting.refresh()
    assert {line.limit: line.used for line in setting.limiter.lines()} == {
        "requests_per_day": 1,
        "tokens_per_day": 0,
        "cost_per_day": 0.5,
    }
    assert refused(setting.limiter, key).retry_after == 86_400


def test_prices_that_add_up_to_the_budget_use_it_up(setting: Setting) -> None:
    limiter = setting.configure(LimitSettings(cost_per_day=1.0))
    for _ in range(10):
        limiter.admit(None)
        limiter.spend(None, cost(0.1))
    assert refused(limiter).message == "this server: 1 of 1 of today's cost are used up"


def test_calls_over_a_minutes_limit_wait_in_order_and_ten_seconds_at_most(
    setting: Setting,
) -> None:
    limiter = setting.configure(LimitSettings(requests_per_minute=60, on_limit="throttle"))
    for _ in range(60):
        assert limiter.admit(None).delay_s == 0
        setting.clock.advance(0.9)
    delays = [limiter.admit(None).delay_s for _ in range(5)]
    assert delays == sorted(delays)
    assert all(0 < delay <= 10 for delay in delays)
    steps = [later - before for before, later in pairwise(delays)]
    assert steps == pytest.approx([0.9] * 4, abs=0.26)
    error = refused(limiter)
    assert error.code == "limit-requests"
    assert 10 < error.retry_after < 12


def test_calls_that_wait_for_tokens_go_one_after_the_other(setting: Setting) -> None:
    limiter = setting.configure(LimitSettings(tokens_per_minute=600, on_limit="throttle"))
    limiter.admit(None)
    limiter.spend(None, [Spending("", 1, 600, 0.0)])
    setting.clock.advance(55)
    delays = [limiter.admit(None).delay_s for _ in range(2)]
    assert delays[0] == pytest.approx(5.25, abs=0.01)
    assert delays[1] - delays[0] == pytest.approx(600 / 16 / 10, abs=0.01)
    assert refused(limiter).code == "limit-tokens"


def test_a_day_over_its_limit_is_refused_by_throttle_too(setting: Setting) -> None:
    limiter = setting.configure(LimitSettings(requests_per_day=1, on_limit="throttle"))
    limiter.admit(None)
    assert refused(limiter).code == "budget-requests"


def test_one_keys_waiting_calls_hold_up_no_other(setting: Setting) -> None:
    limiter = setting.configure(LimitSettings(requests_per_minute=100))
    slow = setting.key(LimitSettings(requests_per_minute=1, on_limit="throttle"))
    limiter.admit(slow)
    setting.clock.advance(55)
    assert limiter.admit(slow).delay_s > 5
    assert limiter.admit(None).delay_s == 0


def test_warn_lets_everything_through_and_says_so(setting: Setting) -> None:
    every = {"requests_per_minute": 1, "requests_per_day": 4, "cost_per_day": 1.0}
    limiter = setting.configure(LimitSettings(**every, on_limit="warn"))
    limiter.admit(None)
    assert limiter.admit(None).warnings == ("this server: over requests_per_minute",)
    setting.clock.advance(61)
    limiter.spend(None, cost(1.25))
    before = metrics.WARNED.labels("server", "cost_per_day")._value.get()
    assert limiter.admit(None).warnings == ("this server: 125 % of cost_per_day used",)
    setting.clock.advance(61)
    limiter.admit(None)
    setting.clock.advance(61)
    assert limiter.admit(None).warnings == (
        "this server: 125 % of requests_per_day used",
        "this server: 125 % of cost_per_day used",
    )
    assert metrics.WARNED.labels("server", "cost_per_day")._value.get() == before + 3


def test_a_share_of_a_day_brings_a_warning_and_one_line_in_the_log(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    key = setting.key(LimitSettings(requests_per_day=6, warn_at=0.5))
    warnings = [setting.limiter.admit(key).warnings for _ in range(6)]
    for _ in range(3):
        refused(setting.limiter, key)
    assert warnings == [
        (),
        (),
        ("key news: 50 % of requests_per_day used",),
        ("key news: 66 % of requests_per_day used",),
        ("key news: 83 % of requests_per_day used",),
        ("key news: 100 % of requests_per_day used",),
    ]
    about = {"scope": "key", "name": "news", "limit": "requests_per_day"}
    assert [(line.levelname, line.message, vars(line)["values"]) for line in caplog.records] == [
        ("WARNING", "limit nearly used up", about),
        ("WARNING", "limit used up", about),
    ]


def test_an_upstreams_limit_sends_the_chain_on(setting: Setting) -> None:
    limiter = setting.configure(upstreams={"up": LimitSettings(requests_per_minute=2)})
    before = metrics.REFUSED.labels("upstream", "requests_per_minute")._value.get()
    limiter.admit_try("up")
    limiter.admit_try("up")
    with pytest.raises(BackendError) as caught:
        limiter.admit_try("up")
    assert (caught.value.code, caught.value.retryable) == ("upstream-limit", False)
    assert caught.value.retry_after == pytest.approx(60.25, abs=0.01)
    assert "upstream up: 2 of 2 requests in 60 s" in caught.value.message
    assert metrics.REFUSED.labels("upstream", "requests_per_minute")._value.get() == before + 1
    limiter.admit_try("another")
    limiter.admit(None)


def test_an_upstream_that_throttles_may_be_asked_again_soon(setting: Setting) -> None:
    slow = LimitSettings(requests_per_minute=1, on_limit="throttle")
    limiter = setting.configure(upstreams={"up": slow})
    limiter.admit_try("up")
    setting.clock.advance(52)
    with pytest.raises(BackendError) as caught:
        limiter.admit_try("up")
    assert caught.value.retryable
    assert caught.value.retry_after == pytest.approx(8.25, abs=0.01)
    setting.clock.advance(caught.value.retry_after)
    limiter.admit_try("up")
    with pytest.raises(BackendError) as caught:
        limiter.admit_try("up")
    assert not caught.value.retryable, "a minute is too long to wait"


def test_an_upstreams_budget_counts_only_its_own(setting: Setting) -> None:
    limiter = setting.configure(upstreams={"a": LimitSettings(cost_per_day=1), "b": NONE})
    key = setting.key(LimitSettings(cost_per_day=10))
    limiter.admit(key)
    limiter.spend(key.id, [*cost(2, "b"), *cost(0.5, "a"), *cost(0.25)])
    limiter.admit_try("a")
    limiter.spend(key.id, cost(0.5, "a"))
    with pytest.raises(BackendError) as caught:
        limiter.admit_try("a")
    assert caught.value.retry_after == 86_400
    used = {(line.scope, line.limit): line.used for line in limiter.lines()}
    assert used == {("upstream", "cost_per_day"): 1.0, ("key", "cost_per_day"): 3.25}


def test_other_processes_count_and_the_own_one_counts_once(setting: Setting) -> None:
    key = setting.key(LimitSettings(requests_per_day=10))
    limiter = setting.configure(
        LimitSettings(cost_per_day=100), {"up": LimitSettings(tokens_per_day=100)}
    )
    limiter.admit(key)
    limiter.spend(key.id, cost(3, "up", tokens=7))
    setting.spent("me", 1, key=key.id)
    setting.spent("me", 1, key=key.id, up="up", tokens=7, cost=3.0)
    setting.spent("other", 4, key=key.id)
    setting.spent("other", 6, key=key.id, up="up", tokens=20, cost=5.0)
    setting.spent("other", 2, tokens=9, cost=1.0)
    setting.refresh()
    used = {(line.scope, line.limit): line.used for line in limiter.lines()}
    assert used == {
        ("server", "cost_per_day"): 9.0,
        ("upstream", "tokens_per_day"): 27,
        ("key", "requests_per_day"): 5,
    }


def test_limits_set_on_a_running_server_find_what_it_used_up(setting: Setting) -> None:
    key = setting.key()
    setting.spent("me", 7, key=key.id, tokens=70)
    setting.spent("other", 2, key=key.id)
    setting.refresh()
    with setting.database.write() as unit:
        set_limits(unit, key.id, LimitSettings(requests_per_day=10, tokens_per_day=1000))
    setting.refresh()
    key = setting.seen(key.id)
    setting.limiter.admit(key)
    setting.refresh()
    assert refused(setting.limiter, key).message.startswith("key news: 10 of 10 requests")
    used = {line.limit: line.used for line in setting.limiter.lines()}
    assert used == {"requests_per_day": 10, "tokens_per_day": 70}


def test_what_was_counted_and_recorded_meanwhile_counts_once(setting: Setting) -> None:
    setting.spent("me", 3)
    limiter = setting.configure(LimitSettings(requests_per_day=10))
    limiter.admit(None)
    limiter.admit(None)
    setting.refresh()
    (line,) = limiter.lines()
    assert line.used == 3, "of the three recorded, two were counted as well"


def test_new_limits_of_a_key_hold_with_what_is_used_up(setting: Setting) -> None:
    setting.configure(LimitSettings(requests_per_day=1000))
    key = setting.key()
    for _ in range(5):
        setting.limiter.admit(key)
    with setting.database.write() as unit:
        set_limits(unit, key.id, LimitSettings(requests_per_day=5))
    setting.refresh()
    refused(setting.limiter, setting.seen(key.id))


def test_lines_say_whose_limit_it_is_and_how_much_is_used(setting: Setting) -> None:
    limiter = setting.configure(
        LimitSettings(requests_per_minute=10, on_limit="throttle"),
        {"up": LimitSettings(tokens_per_minute=100), "free": NONE},
    )
    key, _ = setting.key(LimitSettings(cost_per_day=2.0)), setting.key(name="free")
    limiter.admit(key)
    limiter.admit_try("up")
    limiter.spend(key.id, cost(0.5, "up", tokens=25))

    def line(scope: str, name: str, limit: str, used: float, most: float, then: str) -> LimitLine:
        return LimitLine(
            scope=scope,
            name=name,
            id=key.id if scope == "key" else "",
            limit=limit,
            most=most,
            used=used,
            ratio=used / most,
            on_limit=then,
        )

    assert limiter.lines() == [
        line("server", "server", "requests_per_minute", 1, 10, "throttle"),
        line("upstream", "up", "tokens_per_minute", 25, 100, "refuse"),
        line("key", "news", "cost_per_day", 0.5, 2.0, "refuse"),
    ]


def test_ratios_have_names_and_a_bound(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_NAMES", 2)
    limits = LimitSettings(requests_per_day=4)
    keys = [setting.key(limits, name) for name in ("a", "b", "c", "c")]
    for key, calls in zip(keys, (1, 2, 3, 1), strict=True):
        for _ in range(calls):
            setting.limiter.admit(key)
    metrics.observe(setting.limiter.lines())
    (family,) = metrics.USED_RATIO.collect()
    found = {(s.labels["name"], s.labels["limit"]): s.value for s in family.samples}
    assert found == {("c", "requests_per_day"): 0.75, ("b", "requests_per_day"): 0.5}
    metrics.observe([])
    assert metrics.USED_RATIO.collect()[0].samples == []


def test_a_database_that_does_not_answer_leaves_the_last_figures(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.spent("other", 3)
    limiter = setting.configure(LimitSettings(requests_per_day=4))
    setting.refresh()
    with setting.database.engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE spent RENAME TO gone")
    limiter.mirror.poll()
    assert limiter.mirror.stale
    limiter.admit(None)
    refused(limiter)


def test_a_keys_limits_are_the_same_object_while_they_do_not_change(setting: Setting) -> None:
    key = setting.key(LimitSettings(requests_per_day=4))
    setting.refresh()
    assert setting.seen(key.id).limits is key.limits
    with setting.database.read() as unit:
        assert list_keys(unit)[0].limits is key.limits

"""The breaker of one backend: when it opens, whom it lets probe, what silence does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inhouse.core.errors import BackendError, Exhausted, Invalid, NotFound, Unavailable
from inhouse.gateway.breaker import JITTER, Breaker, BreakerState, Verdict, judge

OPEN_S = 300.0
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def make(threshold: int = 5) -> Breaker:
    return Breaker(threshold=threshold, open_s=OPEN_S)


def succeed(breaker: Breaker, now: float, latency_s: float = 0.01) -> None:
    breaker.succeeded(breaker.started(now), latency_s)


def fail(breaker: Breaker, now: float, times: int = 1, jitter: float = 0.0) -> None:
    for _ in range(times):
        breaker.failed(breaker.started(now), now, jitter)


class Traffic(RuleBasedStateMachine):
    """Calls come, end in any order and way, and time passes; a model of the row of failures says
    what the breaker must be."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = make(3)
        self.now = 0.0
        self.before: set[int] = set()
        self.probes: set[int] = set()
        self.row = 0
        self.opened_at: float | None = None

    @rule(alternatives=st.booleans())
    def call(self, alternatives: bool) -> None:
        was = self.breaker.state
        if not self.breaker.admit(self.now, alternatives=alternatives):
            assert was is not CLOSED or alternatives
            return
        ticket = self.breaker.started(self.now)
        if was is CLOSED:
            self.before.add(ticket)
        else:
            assert self.opened_at is not None
            assert self.now >= self.opened_at + OPEN_S
            self.probes.add(ticket)

    @precondition(lambda self: self.before | self.probes)
    @rule(data=st.data(), how=st.sampled_from(["answer", "fail", "leave"]))
    def end(self, data: st.DataObject, how: str) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.before | self.probes)))
        is_probe = ticket in self.probes
        self.before.discard(ticket)
        self.probes.discard(ticket)
        closed = self.breaker.state is CLOSED
        if how == "answer":
            self.breaker.succeeded(ticket, 0.01)
            if closed or is_probe:
                self.row, self.opened_at = 0, None
        elif how == "fail":
            self.breaker.failed(ticket, self.now, 0.5)
            if closed:
                self.row += 1
            if is_probe or (closed and self.row == 3):
                self.opened_at = self.now
        else:
            self.breaker.abandoned(ticket)

    @rule(seconds=st.sampled_from([0.01, 1.0, OPEN_S, OPEN_S * (1 + JITTER)]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def reset(self) -> None:
        self.breaker.reset()
        self.row, self.opened_at = 0, None
        self.before |= self.probes
        self.probes = set()

    @invariant()
    def one_probe_at_most(self) -> None:
        assert len(self.probes) <= 1
        assert not self.probes or self.breaker.state is HALF_OPEN

    @invariant()
    def open_after_exactly_so_many_failures(self) -> None:
        assert (self.breaker.state is CLOSED) == (self.opened_at is None)
        if self.breaker.state is CLOSED:
            assert self.breaker.failures == self.row < 3

    @invariant()
    def every_call_is_counted_once(self) -> None:
        assert self.breaker.in_flight == len(self.before | self.probes)

    @invariant()
    def nobody_is_shut_out_for_ever(self) -> None:
        later = self.now + 2 * OPEN_S
        assert self.probes or self.breaker.admit(later, alternatives=False)


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.integers(1, 20))
def test_it_opens_at_the_failure_that_is_one_too_many(threshold: int) -> None:
    breaker = make(threshold)
    fail(breaker, 0.0, threshold - 1)
    assert breaker.state is CLOSED
    fail(breaker, 0.0)
    assert (breaker.state, breaker.opened, breaker.row) == (OPEN, 1, threshold)


def test_an_answer_between_begins_the_row_again() -> None:
    breaker = make()
    fail(breaker, 0.0, 4)
    succeed(breaker, 0.0)
    fail(breaker, 0.0, 4)
    assert breaker.state is CLOSED


@given(st.floats(0, 1, exclude_max=True))
def test_open_lasts_its_time_and_at_most_a_tenth_more(jitter: float) -> None:
    breaker = make()
    fail(breaker, 100.0, 5, jitter)
    assert OPEN_S <= breaker.until - 100.0 <= OPEN_S * 1.1
    assert not breaker.admit(breaker.until - 0.001, alternatives=False)
    assert breaker.admit(breaker.until, alternatives=False)


def test_a_probe_that_fails_opens_again_and_one_that_answers_closes() -> None:
    breaker = make()
    fail(breaker, 0.0, 5)
    fail(breaker, 300.0)
    assert (breaker.state, breaker.opened) == (OPEN, 2)
    assert not breaker.admit(599.0, alternatives=False)
    probe = breaker.started(600.0)
    assert (breaker.state, breaker.admit(601.0, alternatives=False)) == (HALF_OPEN, False)
    breaker.succeeded(probe, 0.1)
    assert (breaker.state, breaker.row) == (CLOSED, 0)


def test_a_probe_that_left_makes_room_for_the_next() -> None:
    breaker = make()
    fail(breaker, 0.0, 5)
    breaker.abandoned(breaker.started(300.0))
    assert (breaker.state, breaker.admit(300.0, alternatives=False)) == (HALF_OPEN, True)


def test_what_comes_in_late_neither_closes_nor_prolongs() -> None:
    breaker = make()
    early, late = breaker.started(0.0), breaker.started(0.0)
    fail(breaker, 0.0, 5)
    breaker.succeeded(early, 1.0)
    breaker.failed(late, 100.0, 0.0)
    assert (breaker.state, breaker.until, breaker.opened) == (OPEN, 300.0, 1)


def test_streams_that_break_off_in_a_row_open_it_though_each_began_well() -> None:
    breaker = make(3)
    for _ in range(2):
        succeed(breaker, 0.0)
        breaker.broke(0.0, 0.0)
    breaker.completed()
    for _ in range(2):
        succeed(breaker, 0.0)
        breaker.broke(0.0, 0.0)
    assert (breaker.state, breaker.row) == (CLOSED, 2)
    breaker.broke(0.0, 0.0)
    assert breaker.state is OPEN


def test_a_lower_threshold_shuts_nobody_out() -> None:
    breaker = make()
    succeed(breaker, 0.0)
    fail(breaker, 0.0, 4)
    breaker.threshold = 2
    assert breaker.admit(0.0, alternatives=True)
    fail(breaker, 0.0)
    assert breaker.state is OPEN


class TestSilence:
    """Only while others could answer instead."""

    def test_a_backend_that_never_answered_gets_as_many_calls_as_open_it(self) -> None:
        breaker = make()
        tickets = [breaker.started(0.0) for _ in range(5)]
        assert not breaker.admit(0.0, alternatives=True)
        assert breaker.admit(0.0, alternatives=False)
        breaker.failed(tickets[0], 1.0, 0.0)
        assert not breaker.admit(1.0, alternatives=True)
        breaker.succeeded(tickets[1], 1.0)
        assert breaker.admit(1.0, alternatives=True)

    def test_a_healthy_one_takes_any_burst(self) -> None:
        breaker = make()
        succeed(breaker, 0.0, 0.2)
        for _ in range(500):
            assert breaker.admit(1.0, alternatives=True)
            breaker.started(1.0)

    def test_a_warm_one_that_falls_silent_gets_five_of_twenty_a_second(self) -> None:
        breaker = make()
        succeed(breaker, 0.0, 0.005)
        taken = 0
        for call in range(600):
            now = 1.0 + call / 20
            if breaker.admit(now, alternatives=True):
                breaker.started(now)
                taken += 1
        assert taken == 5

    def test_patience_is_several_times_the_usual_latency(self) -> None:
        breaker = make()
        succeed(breaker, 0.0, 1.0)
        for _ in range(5):
            breaker.started(10.0)
        assert breaker.admit(13.9, alternatives=True)
        assert not breaker.admit(14.1, alternatives=True)

    def test_the_usual_latency_follows_the_slow_ones(self) -> None:
        breaker = make()
        for call in range(200):
            succeed(breaker, 0.0, 2.0 if call % 10 == 0 else 0.01)
        for _ in range(5):
            breaker.started(10.0)
        assert breaker.admit(13.0, alternatives=True)

    def test_one_answer_ends_it_also_for_those_that_take_long(self) -> None:
        breaker = make()
        succeed(breaker, 0.0)
        waiting = [breaker.started(0.0) for _ in range(6)]
        assert not breaker.admit(10.0, alternatives=True)
        breaker.succeeded(waiting[5], 10.0)
        assert breaker.admit(1000.0, alternatives=True)

    def test_two_failures_in_a_row_make_the_others_under_way_doubtful(self) -> None:
        breaker = make()
        succeed(breaker, 0.0)
        tickets = [breaker.started(1.0) for _ in range(5)]
        breaker.failed(tickets[0], 1.0, 0.0)
        assert breaker.admit(1.0, alternatives=True)
        breaker.failed(tickets[1], 1.0, 0.0)
        assert not breaker.admit(1.0, alternatives=True)
        breaker.abandoned(tickets[2])
        assert breaker.admit(1.0, alternatives=True)

    def test_it_opens_nothing_by_itself(self) -> None:
        breaker = make()
        for _ in range(5):
            breaker.abandoned(breaker.started(0.0))
        assert (breaker.state, breaker.row, breaker.in_flight) == (CLOSED, 0, 0)


def _status(code: int, *, fatal: bool = False) -> BackendError:
    return BackendError("x", code="upstream-status", upstream_status=code, fatal=fatal)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (None, Verdict.ANSWERED),
        *[(_status(code), Verdict.FAILED) for code in (401, 403, 404, 429, 500, 503)],
        *[(_status(code, fatal=True), Verdict.UNTOLD) for code in (400, 413, 422)],
        *[
            (BackendError("x", code=code), Verdict.FAILED)
            for code in ("timeout", "upstream-connect", "upstream-closed", "upstream-garbage")
        ],
        *[
            (BackendError("x", code=code), Verdict.ANSWERED)
            for code in ("unparsable", "upstream-cut", "upstream-refused")
        ],
        *[
            (BackendError("x", code=code), Verdict.UNTOLD)
            for code in ("unsupported", "task-mismatch", "upstream-limit")
        ],
        (NotFound("x"), Verdict.UNTOLD),
        (Invalid("x"), Verdict.UNTOLD),
        (Unavailable("x"), Verdict.UNTOLD),
        (Exhausted("x"), Verdict.UNTOLD),
        (KeyError("x"), Verdict.UNTOLD),
        (GeneratorExit(), Verdict.UNTOLD),
    ],
)
def test_what_counts(error: BaseException | None, verdict: Verdict) -> None:
    assert judge(error) is verdict

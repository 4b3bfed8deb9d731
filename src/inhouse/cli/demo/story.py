"""The story, step by step. Each step does real work, tells its figures, and is done once."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.progress import Progress as Bar

from inhouse.bootstrap import App
from inhouse.cli.demo.arrivals import Arrivals, Ticks
from inhouse.cli.demo.ask import PARALLEL, TASK, Application, Asked, wait_until
from inhouse.cli.demo.folder import General, Progress
from inhouse.cli.demo.plan import Plan, Text
from inhouse.cli.demo.tell import Teller
from inhouse.cli.demo.train import Trained, train_and_evaluate
from inhouse.cli.demo.train import tell as tell_training
from inhouse.cli.figures import call_stats
from inhouse.core.errors import Invalid
from inhouse.datasets.ingest import import_file
from inhouse.datasets.snapshot import BuildSettings, build
from inhouse.datasets.split import SplitSettings
from inhouse.monitoring.queries import Window
from inhouse.monitoring.report import independence_in
from inhouse.registry import move
from inhouse.registry.routes import Route

STEPS = (10, 30, 50, 60, 70, 80, 90, 100)
CALLS_A_STEP = 60
ACTOR = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One demo: the wired product, its server's address, the parts of the texts."""

    app: App
    url: str
    plan: Plan
    general: General
    progress: Progress
    teller: Teller

    def run(self) -> str:
        """Tell the story to its end. Returns the gate's verdict."""
        self._gateway()
        self._step("stream", "2  A general model answers", self._stream)
        self._step("dataset", "3  An editor's corrections become a dataset", self._dataset)
        trained = Trained(**self._step("train", "4  An own model is trained", self._train))
        if trained.verdict == "pass":
            self._step("ramp", "5  Traffic moves to the own model", self._ramp)
            self._step("rollback", "6  Back at once, and forward again", self._rollback)
        else:
            self._step("kept", "5  No traffic moves", lambda: self._kept(trained))
        self._step("independence", "7  Independence, cost, latency", self._independence)
        return trained.verdict

    def _step(self, name: str, heading: str, work: Callable[[], Any]) -> Any:
        """Do a step, or tell again what it told when it is done already."""
        self.teller.heading(heading)
        if (left := self.progress.done(name)) is not None:
            for line in self.teller.lines:
                if line.step == name:
                    self.teller.show(line)
            return left
        self.teller.forget(name)
        left = work()
        self.progress.finish(name, left)
        return left

    def _gateway(self) -> None:
        self.teller.heading("1  The gateway is up")
        self.teller.say(f"{self.url} on one SQLite file, {self.app.settings.state / 'inhouse.db'}")
        about = getattr(self.app.backends.resolve(self.general.reference), "about", "")
        named = f"{self.general.reference} ({about})" if about else self.general.reference
        self.teller.say(f"task {TASK} is answered by the general model {named}")
        if self.plan.is_own_file:
            self.teller.say("whatever the size of the file, that model is asked at most 600 times")

    def _stream(self) -> dict[str, Any]:
        application = Application(self.url)
        since, asked = self._now(), []
        with self._bar("asking", len(self.plan.stream)) as advance:

            def seen(one: Asked) -> None:
                asked.append(one)
                advance()

            application.stream(self.plan.stream, seen)
        application.close()
        if not asked:
            raise Invalid(f"the general model answered nothing: {application.failures[-1]}")
        until, doors = self._settle(), [one.door for one in asked]
        stats = self._stats(since, until)
        self._tell_calls(
            "stream",
            f"{stats['answered']} of {stats['calls']} texts answered, "
            f"{doors.count('openai client')} through the openai client, "
            f"{doors.count('task API')} through the task API",
            since,
            until,
            stats,
        )
        pairs = [[one.name, one.interaction_id] for one in asked]
        return {"since": since.isoformat(), "until": until.isoformat(), "asked": pairs}

    def _dataset(self) -> dict[str, Any]:
        asked = self.progress.done("stream")["asked"]
        targets = {text.name: text.target for text in self.plan.stream}
        application = Application(self.url)
        with self._bar("correcting", len(asked)) as advance:
            for name, interaction_id in asked:
                application.correct(Asked(name, interaction_id, ""), targets[name])
                advance()
        application.close()
        self.teller.tell(
            "dataset",
            f"{len(asked)} corrections arrived as feedback; "
            f"the editor is played by the labels of {self.plan.source}",
        )
        self._bring_in(self.plan.labelled)
        spec = self.app.catalog.get(TASK)
        settings = BuildSettings(split=SplitSettings(max_test=self.plan.most_test))
        with self.app.database.write() as unit:
            snapshot = build(unit, spec, settings=settings, at=self._now())
        counts = {split: snapshot.counts.get(split, 0) for split in ("train", "valid", "test")}
        dropped = ", ".join(f"{n} {reason}" for reason, n in sorted(snapshot.dropped.items()))
        self.teller.tell(
            "dataset",
            f"snapshot {snapshot.content_hash[:12]}: {counts['train']} train, {counts['valid']} "
            f"valid, {counts['test']} test; dropped: {dropped or 'none'}",
            ("dataset", "show", snapshot.content_hash, "--json"),
            {
                "content_hash": snapshot.content_hash,
                **{f"counts.{split}": n for split, n in counts.items()},
                **{f"dropped.{reason}": n for reason, n in snapshot.dropped.items()},
            },
        )
        return {"snapshot_id": snapshot.id}

    def _bring_in(self, texts: Sequence[Text]) -> None:
        if not texts:
            return
        path = self.app.settings.folder / "labelled.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            column = "label" if self.plan.kind == "choice" else "score"
            writer = csv.writer(file)
            writer.writerow(["text", column, "group"])
            writer.writerows([text.text, text.target, text.group] for text in texts)
        spec = self.app.catalog.get(TASK)
        report = import_file(self.app.database, spec, path, clock=self.app.clock)
        self.teller.tell(
            "dataset",
            f"{report.added + report.duplicate} more texts of the file came in with their labels, "
            "unasked",
            ("dataset", "import", TASK, str(path), "--json"),
            {"read": report.read, "bad": []},
        )

    def _train(self) -> dict[str, Any]:
        snapshot_id = self.progress.done("dataset")["snapshot_id"]
        with Bar(transient=True, disable=not self.teller.console.is_terminal) as bar:
            trained = train_and_evaluate(self.app, snapshot_id, bar, actor=ACTOR)
        tell_training(self.app, self.teller, trained)
        return trained.as_dict()

    def _ramp(self) -> dict[str, Any]:
        version = self.progress.done("train")["reference"]
        application = Application(self.url)
        full = self._now()
        with Arrivals(application, self.plan.ramp) as arrivals:
            for percent in STEPS:
                route = self._set(percent, version)
                since = self._now()
                arrivals.wait_for(CALLS_A_STEP + PARALLEL)
                until = self._settle(arrivals)
                stats = self._stats(since, until)
                self._tell_calls(
                    "ramp",
                    f"{percent:>3} % (route revision {route.revision}): {stats['own']} of "
                    f"{stats['calls']} calls answered by {version}, "
                    f"{stats['unanswered']} unanswered",
                    since,
                    until,
                    stats,
                )
                full = since
            until = self._settle()
        application.close()
        self.teller.say(
            f"{arrivals.answered} calls in all, {len(application.failures)} failed; "
            f"{len(self.plan.ramp)} texts that are in no split, each sent again and again"
        )
        return {
            "since": full.isoformat(),
            "until": until.isoformat(),
            "failures": application.failures,
        }

    def _rollback(self) -> dict[str, Any]:
        version = self.progress.done("train")["reference"]
        spec, application = self.app.catalog.get(TASK), Application(self.url)
        with Arrivals(application, self.plan.ramp) as arrivals:
            arrivals.wait_for(5)
            began = time.perf_counter()
            with self.app.database.write() as unit:
                route = move.rollback(unit, spec, actor=ACTOR, reason="to see it", at=self._now())
            self._in_force(route)
            took = time.perf_counter() - began
            since = self._now()
            arrivals.wait_for(10 + PARALLEL)
            until = self._settle(arrivals)
            stats = self._stats(since, until)
            self._tell_calls(
                "rollback",
                f"rolled back in {took:.2f} s (route revision {route.revision}): of the next "
                f"{stats['calls']} calls {self.general.reference} answered "
                f"{stats['answered'] - stats['own']}, {version} {stats['own']}",
                since,
                until,
                stats,
            )
            forward = self._set(100, version)
            since = self._now()
            arrivals.wait_for(10 + PARALLEL)
            until = self._settle(arrivals)
        stats = self._stats(since, until)
        self._tell_calls(
            "rollback",
            f"forward again (route revision {forward.revision}): of the next {stats['calls']} "
            f"calls {version} answered {stats['own']}",
            since,
            until,
            stats,
        )
        application.close()
        return {"failures": application.failures}

    def _kept(self, trained: Trained) -> dict[str, Any]:
        words = {
            "fail": "the gate failed: keep the general model",
            "inconclusive": "inconclusive: the evidence does not decide; keep the general model, "
            "correct more answers and train again",
        }
        self.teller.tell(
            "kept",
            f"{words[trained.verdict]}; {self.general.reference} goes on answering everything",
            ("routes", "show", TASK, "--json"),
            {"0.weight_bp": 0, "0.incumbent": self.general.reference},
        )
        return {}

    def _independence(self) -> dict[str, Any]:
        before = self.progress.done("stream")
        self._tell_window("before", before)
        if (after := self.progress.done("ramp")) is not None:
            self._tell_window("after ", after)
        return {}

    def _tell_window(self, word: str, window: dict[str, str]) -> None:
        since, until = (datetime.fromisoformat(window[name]) for name in ("since", "until"))
        with self.app.database.read() as unit:
            report = independence_in(unit, Window(since=since, until=until))
        parts = report.parts
        if parts is None:
            return
        stats = self._stats(since, until)
        speed = " / ".join(
            f"{row['p50_ms']:.1f} ms {row['reference']}" for row in stats["references"]
        )
        self.teller.tell(
            "independence",
            f"{word} {report.score:5.1f} of 100: own models answer "
            f"{parts.deployed_percent:.0f} %, local general ones {parts.local_share:.0%}, external "
            f"APIs {parts.external_share:.0%} of the calls; certified {parts.parity_share:.0%}",
            ("independence", "--since", window["since"], "--until", window["until"], "--json"),
            {
                "score": report.score,
                "parts.deployed_percent": parts.deployed_percent,
                "parts.external_share": parts.external_share,
                "parts.local_share": parts.local_share,
                "parts.parity_share": parts.parity_share,
            },
        )
        self._tell_calls(
            "independence",
            f"       a call costs {stats['cost'] / max(1, stats['answered']):g}, p50 {speed}",
            since,
            until,
            stats,
        )

    def _set(self, percent: float, version: str) -> Route:
        spec = self.app.catalog.get(TASK)
        with self.app.database.write() as unit:
            route = move.set_weight(
                unit,
                spec,
                candidate=version,
                percent=percent,
                actor=ACTOR,
                reason="the gate passed",
                at=self._now(),
            )
        self._in_force(route)
        return route

    def _in_force(self, route: Route) -> None:
        """Wait until the server has seen the revision by itself, as from another process."""
        wait_until(
            lambda: self.app.routes.get(TASK).revision >= route.revision, 5.0, "the new route"
        )

    def _stats(self, since: datetime, until: datetime) -> dict[str, Any]:
        with self.app.database.read() as unit:
            return call_stats(unit, TASK, since=since, until=until)

    def _tell_calls(
        self, step: str, text: str, since: datetime, until: datetime, stats: dict[str, Any]
    ) -> None:
        window = ("--since", since.isoformat(), "--until", until.isoformat())
        names = ("calls", "answered", "unanswered", "own", "local", "external", "cost")
        figures = {name: stats[name] for name in names}
        figures |= {
            f"references.{n}.p50_ms": r["p50_ms"] for n, r in enumerate(stats["references"])
        }
        self.teller.tell(step, text, ("interactions", "stats", TASK, *window, "--json"), figures)

    def _settle(self, arrivals: Arrivals | None = None) -> datetime:
        """Now, with every call that began before in the database."""
        now = self._now()
        if arrivals is not None:
            arrivals.wait_for(2 * PARALLEL)
        self.app.recorder.flush(10.0)
        return now

    def _now(self) -> datetime:
        return self.app.clock.now()

    def _bar(self, what: str, total: int) -> Any:
        return Ticks(self.teller, what, total)

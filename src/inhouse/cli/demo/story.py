"""The story, step by step. Each step does real work, tells its figures, and is done once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.progress import Progress as Bar

from inhouse.bootstrap import App
from inhouse.cli.demo.arrivals import Ticks
from inhouse.cli.demo.ask import TASK, Application, Asked
from inhouse.cli.demo.folder import General, Progress
from inhouse.cli.demo.measure import Measure, do_once
from inhouse.cli.demo.plan import Plan
from inhouse.cli.demo.ramp import Ramp
from inhouse.cli.demo.rollouts import ACTOR
from inhouse.cli.demo.tell import Teller
from inhouse.cli.demo.train import Trained, bring_in, snapshot_of, train_and_evaluate
from inhouse.cli.demo.train import tell as tell_training
from inhouse.core.errors import Invalid
from inhouse.monitoring.queries import Window
from inhouse.monitoring.report import independence_in


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
            ramp = Ramp(
                measure=self._measure,
                url=self.url,
                plan=self.plan,
                general=self.general,
                version=trained.reference,
            )
            heading = "5  Traffic moves to the own model, as fast as the evidence allows"
            if self._step("ramp", heading, ramp.by_evidence)["state"] == "done":
                self._step("rollback", "6  By hand: back at once, and forward again", ramp.by_hand)
        else:
            self._step("kept", "5  No traffic moves", lambda: self._kept(trained))
        self._step("independence", "7  Independence, cost, latency", self._independence)
        return trained.verdict

    def _step(self, name: str, heading: str, work: Callable[[], Any]) -> Any:
        return do_once(self.progress, self.teller, name, heading, work)

    @property
    def _measure(self) -> Measure:
        return Measure(app=self.app, teller=self.teller)

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
        since, asked = self._measure.now(), []
        with self._bar("asking", len(self.plan.stream)) as advance:

            def seen(one: Asked) -> None:
                asked.append(one)
                advance()

            application.stream(self.plan.stream, seen)
        application.close()
        if not asked:
            raise Invalid(f"the general model answered nothing: {application.failures[-1]}")
        until, doors = self._measure.settle(), [one.door for one in asked]
        stats = self._measure.stats(since, until)
        self._measure.tell_calls(
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
        if self.plan.labelled:
            words = "more texts of the file came in with their labels, unasked"
            kind, texts = self.plan.kind, self.plan.labelled
            bring_in(self.app, self.teller, "dataset", kind, texts, words)
        snapshot = snapshot_of(self.app, self.teller, "dataset", self.plan.most_test)
        return {"snapshot_id": snapshot.id}

    def _train(self) -> dict[str, Any]:
        snapshot_id = self.progress.done("dataset")["snapshot_id"]
        with Bar(transient=True, disable=not self.teller.console.is_terminal) as bar:
            trained = train_and_evaluate(self.app, snapshot_id, bar, actor=ACTOR)
        tell_training(self.app, self.teller, trained)
        return trained.as_dict()

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
        after = self.progress.done("ramp")
        if after is not None and "since" in after:
            self._tell_window("after ", after)
        return {}

    def _tell_window(self, word: str, window: dict[str, str]) -> None:
        since, until = (datetime.fromisoformat(window[name]) for name in ("since", "until"))
        with self.app.database.read() as unit:
            report = independence_in(unit, Window(since=since, until=until))
        parts = report.parts
        if parts is None:
            return
        stats = self._measure.stats(since, until)
        speed = " / ".join(
            f"{row['p50_ms']:.1f} ms {row['reference']}" for row in stats["references"]
        )
        self.teller.tell(
            "independence",
            f"{word} {report.score:5.1f} of 100: own models answer "
            f"{parts.deployed_percent:.0f} %, local general ones {100 * parts.local_share:.0f} %, "
            f"external APIs {100 * parts.external_share:.0f} % of the calls; "
            f"certified {100 * parts.parity_share:.0f} %",
            ("independence", "--since", window["since"], "--until", window["until"], "--json"),
            {
                "score": report.score,
                "parts.deployed_percent": parts.deployed_percent,
                "parts.external_share": parts.external_share,
                "parts.local_share": parts.local_share,
                "parts.parity_share": parts.parity_share,
            },
        )
        self._measure.tell_calls(
            "independence",
            f"       a call costs {stats['cost'] / max(1, stats['answered']):g}, p50 {speed}",
            since,
            until,
            stats,
        )

    def _bar(self, what: str, total: int) -> Any:
        return Ticks(self.teller, what, total)

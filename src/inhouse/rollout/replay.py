"""The evidence of a rollout again, from its intakes and the outcomes that they name: what a process
does that begins, or that takes a rollout over.

It takes some 4 s for 200,000 outcomes, so it goes in pieces: a rollout that is old keeps no other
from its step, and its own lease is kept meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from inhouse.db.unit import ReadUnit
from inhouse.rollout import intake, intake_records, records
from inhouse.rollout.intake_records import IntakeRecord
from inhouse.rollout.memory import Memory
from inhouse.rollout.records import RolloutRecord
from inhouse.rollout.tally import Seen, Tally

PIECE: Final = 50_000
"""Outcomes after which a piece ends, with the intake that they belong to."""
_PAGE: Final = 2000
"""Outcomes of one process that are in memory at once."""
_INTAKES: Final = 20


def begin(unit: ReadUnit, rollout: RolloutRecord) -> Memory:
    """What a process knows of a rollout before it has read any intake."""
    return Memory(
        begun_at=rollout.created_at,
        tally=Tally(rollout.plan, by_user=rollout.by_user),
        intakes=0,
        upto={},
        labelled=set(),
        first_revision=records.first_revision(unit, rollout.id),
        fresh_at=rollout.created_at,
        labels_since=rollout.created_at - intake.LATE,
    )


def go_on(unit: ReadUnit, rollout: RolloutRecord, memory: Memory) -> bool:
    """Read the next piece of what ``memory`` has not read yet. Whether that was all of it.

    The newest intake may still grow, so nobody may stop behind it: it is read in the last piece,
    and all before it are as they will ever be.
    """
    read = 0
    while found := intake_records.next_intakes(unit, rollout.id, memory.intakes, _INTAKES):
        for one in found:
            read += _again(unit, rollout, memory, one)
            if read >= PIECE:
                return memory.intakes >= rollout.intakes
    return True


def rebuild(unit: ReadUnit, rollout: RolloutRecord) -> Memory:
    """The evidence as the stored intakes give it, all at once."""
    memory = begin(unit, rollout)
    while not go_on(unit, rollout, memory):
        pass
    return memory


def _again(unit: ReadUnit, rollout: RolloutRecord, memory: Memory, one: IntakeRecord) -> int:
    """Count an intake again. Returns how many outcomes it has."""
    read = 0
    if one.fresh:
        memory.tally.begin()
        memory.fresh_at = one.created_at
    else:
        read = _count(unit, rollout, memory, one)
    memory.upto.update(one.upto)
    memory.intakes = one.number
    return read


def _count(unit: ReadUnit, rollout: RolloutRecord, memory: Memory, one: IntakeRecord) -> int:
    """The outcomes and labels of an intake, in their order."""
    read, labels = 0, iter(one.labels)
    told: dict[str, Iterator[Seen]] = {}
    waiting: dict[str, Seen | None] = {}
    for process, number in one.counted:
        if process is None:
            for label in islice(labels, number):
                memory.label(label)
            continue
        if process not in told:
            told[process] = _told(unit, rollout, memory, process, one.upto[process])
            waiting[process] = next(told[process], None)
        while (seen := waiting[process]) is not None and seen.number <= number:
            memory.tally.outcome(seen)
            waiting[process] = next(told[process], None)
            read += 1
    return read


def _told(
    unit: ReadUnit, rollout: RolloutRecord, memory: Memory, process: str, upto: int
) -> Iterator[Seen]:
    """The outcomes of a process behind those that were read, up to a number, a page at a time."""
    after = memory.upto.get(process, 0)
    while after < upto:
        page = intake.outcomes(
            unit,
            rollout,
            first_revision=memory.first_revision,
            after={process: after},
            upto={process: upto},
            limit=_PAGE,
        )
        yield from page.seen
        after = page.upto[process]

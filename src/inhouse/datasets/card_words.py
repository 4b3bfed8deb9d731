"""A data card as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inhouse.core.hashing import canonical_json
from inhouse.datasets.card import Card

_SHOWN = 20
_LENGTHS = ("least", "p25", "median", "p75", "p95", "most")


def card_markdown(card: Card) -> str:
    """The card as a Markdown document, its texts escaped where Markdown would read them."""
    sections = (_head, _sizes, _origin, _near, _lengths, _limits)
    return "\n".join(line for section in sections for line in section(card)).rstrip() + "\n"


def _head(card: Card) -> Iterator[str]:
    yield f"# Data card: {card.task} {card.content_hash[:12]}"
    yield ""
    yield f"- task `{card.task}`, revision `{card.task_revision}`"
    yield f"- snapshot `{card.id}`, built {card.created_at:%Y-%m-%d %H:%M} UTC"
    yield f"- sha256 `{card.content_hash}`"
    yield f"- built again, while the data is as it was, by `{card.command}`"
    yield ""


def _sizes(card: Card) -> Iterator[str]:
    yield "## Examples"
    yield ""
    splits = list(card.sizes)
    rows = [["all", *(f"{n:,}" for n in card.sizes.values()), f"{sum(card.sizes.values()):,}", ""]]
    for label, counts in card.labels.items():
        share = f"{card.balance[label]:.1%}"
        numbers = [f"{counts[split]:,}" for split in splits]
        rows.append([escaped(label), *numbers, f"{sum(counts.values()):,}", share])
    yield from _table(["", *splits, "all", "share"], rows)
    if card.values:
        figures = ("mean", "min", "max")
        by_split = [
            [split, *(_figure(found, one) for one in figures)]
            for split, found in card.values.items()
        ]
        yield from _table(["value", *figures], by_split)


def _origin(card: Card) -> Iterator[str]:
    yield "## Where they come from"
    yield ""
    yield from (f"- {escaped(name)}: {n:,}" for name, n in card.sources.items())
    facts = card.facts
    if facts:
        time, agreement = facts["time"], facts["agreement"]
        kinds = ", ".join(f"{kind} {n:,}" for kind, n in facts["kinds"].items())
        yield f"- kinds: {kinds}"
        if time["first"]:
            yield f"- from {time['first']} to {time['last']}; {time['undated']:,} without a time"
        else:
            yield "- none has a time"
        yield f"- authors of corrections: {facts['authors']:,}"
        yield f"- agreement: {agreement['mean']:.3f} on average, {agreement['disputed']:,} disputed"
    yield f"- erased since: {card.erased:,}"
    yield ""
    yield "## Left out"
    yield ""
    yield from [f"- {why}: {n:,}" for why, n in card.dropped.items()] or ["Nothing."]
    yield ""


def _near(card: Card) -> Iterator[str]:
    yield "## Near repeats"
    yield ""
    settings, near = card.settings, card.near
    if not near:
        yield "They were not looked for."
    else:
        by = f"by words, {settings['near_words']:g} alike or more"
        if settings.get("near_encoder"):
            by += f"; by meaning ({settings['near_encoder']}), {settings['near_meaning']:g} or more"
        yield f"Looked for {by}: {near['repeats']:,} found, {near['moved']:,} moved to the group of"
        yield f"what they repeat, {near['left_out']:,} left out because the other is in another"
        yield f"split, {near['disagreeing']:,} disagreeing with what they repeat."
    for pair in card.disagreements[:_SHOWN]:
        yield ""
        yield f"- {escaped(_target(pair.target))}: {escaped(pair.text)}"
        yield f"  {escaped(_target(pair.other_target))}: {escaped(pair.other)}"
    yield ""


def _lengths(card: Card) -> Iterator[str]:
    if not card.facts:
        return
    yield "## Lengths"
    yield ""
    rows = [
        [unit, *(f"{card.facts[unit][name]:,}" for name in _LENGTHS)]
        for unit in ("characters", "words")
    ]
    yield from _table(["", *_LENGTHS], rows)


def _limits(card: Card) -> Iterator[str]:
    yield "## Known limits"
    yield ""
    yield from [f"- {escaped(limit)}" for limit in card.limits] or ["None that can be counted."]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "|".join("---" if n == 0 else "---:" for n in range(len(head))) + "|"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _figure(found: Mapping[str, float] | None, name: str) -> str:
    return "" if found is None else f"{found[name]:g}"


def _target(target: Mapping[str, Any]) -> str:
    if len(target) == 1:
        value = next(iter(target.values()))
        if isinstance(value, str | float | int):
            return str(value)
    return canonical_json(dict(target)).decode()


def escaped(text: str) -> str:
    """One line that Markdown shows as it is."""
    plain = " ".join(text.split())
    return "".join("\\" + one if one in "\\`*_{}[]<>#|" else one for one in plain)

"""What of a call's content is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from inhouse.core.hashing import digest_of
from inhouse.interactions.entry import InteractionRecord
from inhouse.interactions.redact import Redactor


@dataclass(frozen=True, slots=True)
class Content:
    """``redactor`` is applied before anything is written. ``hashes_only``: of input and output only
    ``{"sha256": hex}`` of their canonical JSON is kept; what the model said, and the messages of
    its failures, are not."""

    redactor: Redactor | None = None
    hashes_only: bool = False

    @property
    def is_everything(self) -> bool:
        """Whether records are stored as they are."""
        return self.redactor is None and not self.hashes_only

    def of(self, record: InteractionRecord) -> InteractionRecord:
        """The record as it is stored. Raises TypeError for content that is no JSON."""
        record = _decoded(record)
        clean = self.redactor.apply if self.redactor is not None else _as_it_is
        around = {"tags": clean(record.tags), "attempts": clean(record.attempts)}
        if self.hashes_only:
            return replace(
                record,
                tags=around["tags"],
                attempts=without_messages(record.attempts),
                input=_hashed(record.input),
                output=None if record.output is None else _hashed(record.output),
                raw=None,
                probabilities=None,
            )
        return replace(
            record,
            **around,
            input=clean(record.input),
            output=clean(record.output),
            raw=clean(record.raw),
        )


EVERYTHING: Final = Content()


def _decoded(record: InteractionRecord) -> InteractionRecord:
    if not isinstance(record.input, msgspec.Raw):
        return record
    return replace(record, input=msgspec.json.decode(record.input))


def _hashed(value: Any) -> dict[str, str]:
    return {"sha256": digest_of(value)}


def without_messages(attempts: Any) -> Any:
    """What upstreams said of a failure may repeat what they were asked."""
    if attempts is None:
        return None
    return [{name: value for name, value in one.items() if name != "message"} for one in attempts]


def _as_it_is(value: Any) -> Any:
    return value

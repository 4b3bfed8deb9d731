"""What calls came to by hour and by day: counted as they are recorded, read instead of them.

Latencies are kept as buckets. Bucket k holds what is over ``0.1 * 1.25 ** (k - 1)`` ms and at most
``0.1 * 1.25 ** k`` ms; the first also what is less, the last (over 80 minutes) what is more. A
quantile told from the counts is the middle of its bucket and so within 12 % of the true one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate, repeat
from math import sqrt
from operator import mul
from typing import Any, Final

from inhouse.interactions.entry import InteractionRecord
from inhouse.interactions.hours import DAY_LENGTH, HOUR, NEVER, hour_floor, hour_of

ADD: Final = (
    "(hour, task, reference, hosting, arm, status, bucket, process) DO UPDATE SET"
    " calls = activity.calls + excluded.calls,"
    " latency_ms = activity.latency_ms + excluded.latency_ms,"
    " input_tokens = activity.input_tokens + excluded.input_tokens,"
    " output_tokens = activity.output_tokens + excluded.output_tokens,"
    " cost = activity.cost + excluded.cost"
)
"""What to do with counts that are there: add to them."""
NOT_COUNTED: Final = ("forced", "imported", "shadow")
"""Arms whose calls are in no statistic: somebody chose the model, another system answered, or it
was asked beside the call."""
RATIO: Final = 1.25
_FIRST_MS: Final = 0.1
_BUCKETS: Final = 80
_UPPER: Final = tuple(accumulate(repeat(RATIO, _BUCKETS - 1), mul, initial=_FIRST_MS))
_LIMITS: Final = _UPPER[:-1]
_Counts = dict[tuple[Any, ...], list[float]]
_REFERENCE: Final = 256


def bucket_of(latency_ms: float) -> int:
    """The number of a latency's bucket, 0 to 79."""
    return bisect_left(_LIMITS, latency_ms)


def bounds(bucket: int) -> tuple[float, float]:
    """What a bucket holds, in milliseconds: over the first, at most the second."""
    return (_UPPER[bucket - 1] if bucket else 0.0), _UPPER[bucket]


def quantile(counts: Mapping[int, int], q: float) -> float | None:
    """A latency in milliseconds by nearest rank, from calls by bucket; None without a call.

    ``q`` in (0, 1]. Within 12 % of the true one, for latencies from 0.08 ms to 80 minutes.
    """
    total = sum(counts.values())
    if not total:
        return None
    rank, seen = -(-total * q // 1), 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            break
    return _UPPER[bucket] / sqrt(RATIO)


def add_up(records: Iterable[InteractionRecord], process: str) -> list[tuple[object, ...]]:
    """Rows of the table ``Activity``, in the order of its columns, one for each distinct key: of
    every hour, and of its day."""
    sums: _Counts = {}
    begin = end = NEVER
    hour = ""
    for record in records:
        at = record.created_at
        if not begin <= at < end:
            begin = hour_floor(at)
            end, hour = begin + HOUR, hour_of(begin)
        latency = record.latency_ms
        key = (
            hour,
            record.task or "",
            (record.reference or "")[:_REFERENCE],
            record.hosting or "",
            record.arm or "",
            record.status,
            bisect_left(_LIMITS, latency),
        )
        had = sums.get(key)
        if had is None:
            sums[key] = [1, latency, record.input_tokens, record.output_tokens, record.cost]
        else:
            had[0] += 1
            had[1] += latency
            had[2] += record.input_tokens
            had[3] += record.output_tokens
            had[4] += record.cost
    _add_days(sums)
    return [(*key, process, *sums[key]) for key in sorted(sums)]


def _add_days(sums: _Counts) -> None:
    for (hour, *rest), counts in list(sums.items()):
        key = (hour[:DAY_LENGTH], *rest)
        had = sums.get(key)
        sums[key] = counts if had is None else [a + b for a, b in zip(had, counts, strict=True)]

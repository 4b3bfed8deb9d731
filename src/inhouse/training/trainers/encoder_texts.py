"""Texts as an encoder learns from them: windows of word pieces, in batches of about one length."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_BUCKET = 50
"""Batches that are sorted by length together."""


@dataclass(frozen=True, slots=True)
class Window:
    """Word pieces with the special tokens around them."""

    pieces: tuple[int, ...]

    @property
    def weight(self) -> int:
        """Pieces of the text in it; at least 1."""
        return max(1, len(self.pieces) - 2)


class Texts:
    """Texts in windows of at most ``most`` pieces, as serving cuts them too."""

    def __init__(self, base: Path, texts: Sequence[str], most: int) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        special = tokenizer.encode("").ids
        first, last, room = special[0], special[-1], most - 2
        self.windows: list[list[Window]] = []
        for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False):
            pieces = encoded.ids
            starts = range(0, max(1, len(pieces)), room)
            self.windows.append([Window((first, *pieces[at : at + room], last)) for at in starts])

    def draw(self, rows: Sequence[int], rng: random.Random) -> list[Window]:
        """One window of each row, drawn by its share of the text: over the epochs, all of it."""
        return [
            self.windows[row][0]
            if len(self.windows[row]) == 1
            else rng.choices(self.windows[row], [window.weight for window in self.windows[row]])[0]
            for row in rows
        ]


def batches(
    windows: Sequence[Window], size: int, rng: random.Random | None = None
) -> Iterator[list[int]]:
    """Positions of the windows in batches of ``size``, each of about one length.

    With ``rng`` in an order that it draws; without, by length.
    """
    order = list(range(len(windows)))
    if rng is None:
        order.sort(key=lambda at: len(windows[at].pieces))
        yield from (order[at : at + size] for at in range(0, len(order), size))
        return
    rng.shuffle(order)
    found: list[list[int]] = []
    for start in range(0, len(order), size * _BUCKET):
        bucket = sorted(
            order[start : start + size * _BUCKET], key=lambda at: len(windows[at].pieces)
        )
        found += [bucket[at : at + size] for at in range(0, len(bucket), size)]
    rng.shuffle(found)
    yield from found


def derived_seed(seed: int, *names: object) -> int:
    """A seed of its own for a part of the work."""
    text = "/".join(map(str, (seed, *names))).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big")

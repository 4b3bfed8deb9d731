"""ROUGE-L: how far a text says the words of another in their order. Pure.

Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004), section 3.1, as F1 over whole
texts: precision and recall of the longest common subsequence of words. Words are compared without
case and punctuation; scripts without blanks between words are compared by character. The length of
the subsequence comes from bit-parallel rows (Hyyrö, "Bit-parallel LCS-length computation
revisited", 2004), which are exact.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def rouge_l(said: str, meant: str) -> float:
    """F1 in [0, 1]. Texts without any word are worth 1 when they are equal, else 0."""
    if said == meant:
        return 1.0
    a, b = words_of(said), words_of(meant)
    common = common_length(a, b)
    return 2 * common / (len(a) + len(b)) if common else 0.0


def words_of(text: str) -> list[str]:
    """The words that ROUGE compares."""
    return _WORD.findall(text.casefold())


def common_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    where: dict[str, int] = {}
    for at, word in enumerate(a):
        where[word] = where.get(word, 0) | 1 << at
    everything = (1 << len(a)) - 1
    row = everything
    for word in b:
        met = row & where.get(word, 0)
        row = ((row + met) | (row - met)) & everything
    return len(a) - row.bit_count()

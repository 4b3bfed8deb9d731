"""How good are own models? Both recipes on public data, beside the floors, a lexicon and the
general model, on the test rows that the data sets name; and how long it takes, on this machine."""

from __future__ import annotations

from typing import Final

SETS: Final = ("phrasebank", "babe", "nyt", "leaning")
TIMING: Final = "timing"
PARTS: Final = (*SETS, TIMING)

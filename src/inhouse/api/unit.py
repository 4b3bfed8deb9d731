"""What a split is drawn over, as a request says it."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from inhouse.api.body import Scope, header
from inhouse.api.problems import FieldError

LONGEST_UNIT: Final = 256


def unit_of(scope: Scope, otherwise: str | None) -> str | None:
    """The header ``x-inhouse-unit``, else the field that OpenAI has for it, unless that is "".
    Raises FieldError."""
    unit = header(scope, b"x-inhouse-unit")
    if unit is None:
        return otherwise or None
    with suppress(UnicodeDecodeError):  # else it is latin-1, as headers are
        unit = unit.encode("latin-1").decode()
    if not 1 <= len(unit) <= LONGEST_UNIT:
        raise FieldError(
            f"the header x-inhouse-unit has 1 to {LONGEST_UNIT} characters", field="x-inhouse-unit"
        )
    return unit

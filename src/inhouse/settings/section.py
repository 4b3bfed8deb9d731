"""What every table of ``inhouse.toml`` is: frozen, and strict about its keys."""

from __future__ import annotations

import json
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Variable(str):
    """A value from the environment, which has no lists and tables: they are JSON there."""

    __slots__ = ()


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _from_variable(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[info.field_name or ""].annotation
        several = any(get_origin(one) in (tuple, dict) for one in (kind, *get_args(kind)))
        if several and isinstance(value, Variable) and value.lstrip().startswith(("[", "{")):
            try:
                return json.loads(value)
            except RecursionError:
                raise ValueError("JSON that is nested too deeply") from None
            except ValueError as error:
                raise ValueError(f"not JSON: {error}") from None
        return value

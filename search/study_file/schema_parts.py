"""What the sections of the study file's schema are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.annotated_handlers import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from search.study_file.document import shown

Count = Annotated[int, Field(ge=1, le=1_000_000)]
CountOrZero = Annotated[int, Field(ge=0, le=1_000_000)]


class Section(BaseModel):
    """A mapping with fixed keys, each with its description."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


@dataclass(frozen=True, slots=True)
class Shorthand:
    """Words that may stand for a mapping (``pruner: median``); any other is told as no such word."""

    expand: Callable[[Any], Any]
    words: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._expanded, handler(source))

    def _expanded(self, value: Any) -> Any:
        return self.expand(value) if value in self.words else value

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(self.words)}, handler(schema)]}


def named(key: str) -> Callable[[Any], Any]:
    """Return what makes ``{key: word}`` of a word."""
    return lambda value: {key: value} if isinstance(value, str) else value


OWN_ERROR = "zeroin"
"""Type of the validation errors whose text is ours and complete."""


def own_error(message: str) -> PydanticCustomError:
    """Return a validation error whose text goes to the user as it is."""
    return PydanticCustomError(OWN_ERROR, "{message}", {"message": message})


def _check_scalar(value: Any) -> Any:
    if isinstance(value, bool | str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise own_error(f"must be a finite number, a string, true or false, but got {shown(value)}.")


Scalar = Annotated[Any, AfterValidator(_check_scalar), WithJsonSchema({"type": ["number", "string", "boolean"]})]

"""What sections of the configuration are made of: their base class, types of values, messages."""

import difflib
import os
import re
import reprlib
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Item = TypeVar("Item")
_POWER = re.compile(r"\d+(\.\d*)?[eE]\+?\d{1,2}")  # 1e8


def wrong(key: str, found: object, expected: str) -> PydanticCustomError:
    """Return the error that a validator of a section raises about one of its keys."""
    said = {"key": key, "found": reprlib.repr(found), "expected": expected}
    return PydanticCustomError("wrong", "found {found}, expected {expected}", said)


def guess(word: object, known: Iterable[str]) -> str:
    """Return `; did you mean ...?` with the name that a mistyped one resembles, if there is one."""
    close = difflib.get_close_matches(str(word), list(known), 1, 0.5)
    return f"; did you mean {close[0]}?" if close else ""


# --- types of values --------------------------------------------------------------------------


class _OrSingle:
    """Marks a list in whose place a single item may be given."""

    def __get_pydantic_core_schema__(self, of: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda given: given if isinstance(given, list) else [given], handler(of)
        )

    def __get_pydantic_json_schema__(
        self, core: core_schema.BeforeValidatorFunctionSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        several = handler(core["schema"])
        return {"anyOf": [several["items"], several]}


Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$"),
    BeforeValidator(lambda given: str(given) if type(given) is int else given),  # twitter: 2017
]
Several = Annotated[list[Item], _OrSingle()]
Names = Annotated[list[Name], Field(min_length=1), _OrSingle()]
PathName = Annotated[str, Field(pattern=r"\S")]  # of a file or folder
Text = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]
ResultsFolder = Annotated[
    str,
    Field(pattern=r"^[^\s<>{}]([^<>{}\n]*[^\s<>{}])?$"),  # Snakemake fills in < > and { }
    AfterValidator(os.path.normpath),
]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Section(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    """A section of the configuration: unknown keys are errors, values are read-only.

    A number may be given as text, since YAML 1.1 reads `3e-5` as text, but not as true or false;
    null may be given as text, as Snakemake reads it in `--config`.
    """

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        for key in given if isinstance(given, dict) else ():
            if key not in cls.model_fields:
                known = ", ".join(cls.model_fields)
                below = (
                    f"; did you mean {name}.{key}?"
                    for name, field in cls.model_fields.items()
                    if key in getattr(field.annotation, "model_fields", {})
                )
                hint = next(below, "") or guess(key, cls.model_fields)
                said = {"key": str(key), "known": known, "guess": hint}
                message = "found an unknown key, expected one of {known}{guess}"
                raise PydanticCustomError("unknown_key", message, said)
        return given

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, given: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name or ""].annotation
        taken = (annotation, *get_args(annotation))
        if given == "null" and type(None) in taken:
            return None
        if int in taken and str not in taken and isinstance(given, str) and _POWER.fullmatch(given):
            return float(given)
        for item in given if isinstance(given, list) else [given]:
            if isinstance(item, bool) and bool not in taken:
                kind = "float" if float in taken else "int" if int in taken else ""
                raise wrong("", given, _EXPECTED.get(kind, "another type of value"))
        return given


# --- messages ---------------------------------------------------------------------------------

_EXPECTED = {  # by pydantic's type of error, up to the first underscore
    "bool": "true or false",
    "dict": "a mapping of keys to values",
    "float": "a number",
    "int": "an integer",
    "list": "a list",
    "model": "a mapping of keys to values",
    "string": "text; write it in quotes",
}
_PATTERNS = {  # the form of text, by the pattern that it must match
    r"^[A-Za-z0-9][A-Za-z0-9_-]*$": "letters, digits, - and _ only",
    r"\S": "a path",
    r"^[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*$": "the form package.module:function",
    r"^[^\s<>{}]([^<>{}\n]*[^\s<>{}])?$": "a path without < > { }",
    r"^\S(.*\S)?$": "text without blanks around it",
    r"^[0-9a-f]{64}$": "the 64 hexadecimal digits of a sha256",
}


def describe(error: ValidationError) -> list[str]:
    """Return each fault as `KEY: found X, expected Y`, with dots between the steps of the key."""
    return [_describe(fault) for fault in error.errors()[:5]]


def _describe(fault: Any) -> str:
    kind, found = fault["type"], fault["input"]
    context = fault.get("ctx", {})
    steps = [*(str(step) for step in fault["loc"] if step != "[key]"), context.get("key", "")]
    message = f"found {reprlib.repr(found)}, expected {_expected(fault['msg'], kind, context)}"
    if kind in ("wrong", "unknown_key"):
        message = fault["msg"]
    elif kind == "value_error":  # one of our validators, whose message says it all
        message = str(context["error"])
    elif kind == "missing":
        message = "found nothing, expected a value"
    elif kind == "literal_error":
        message += guess(found, re.findall(r"'([^']*)'", context["expected"]))
    key = ".".join(filter(None, steps))
    return f"{key}: {message}" if key else message


def _expected(message: str, kind: str, context: dict[str, Any]) -> str:
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], message)
    if kind.endswith(("_type", "_parsing", "_from_float")):
        return _EXPECTED.get(kind.split("_")[0], message)
    return re.sub(r"^(Input|List) should (be|have) | after validation.*", "", message)

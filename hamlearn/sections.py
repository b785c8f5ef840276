"""What sections of the configuration are made of: their base class and the types of values."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
NameList = Annotated[list[Name], Field(min_length=1)]
Names = Annotated[  # a single name stands for a list of one
    NameList,
    BeforeValidator(
        lambda given: given if isinstance(given, list) else [given],
        json_schema_input_type=Name | NameList,
    ),
]
Loader = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:\w+$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class Section(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    """A section of the configuration: unknown keys are errors, values are read-only."""

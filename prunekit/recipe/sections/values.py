"""Values that recipes hold, and what every section is."""

from __future__ import annotations

__all__ = [
    "Amount",
    "Count",
    "CropSize",
    "Factor",
    "FewCrops",
    "FilePath",
    "Glob",
    "Multiple",
    "PatchSize",
    "Pattern",
    "Positive",
    "Ratio",
    "Scale",
    "Section",
    "Seed",
    "Share",
    "Switch",
    "Weight",
    "Whole",
    "need_one",
    "one_of",
    "whole_number",
]

from pathlib import Path
from typing import Annotated

from pydantic import (
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
)


def whole_number(value: object) -> object:
    """Let `1e4` be a whole number; YAML 1.2 reads it as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _percentage(value: object) -> object:
    """Read text such as `45%` as 0.45; leave the rest to the number that is expected."""
    if not isinstance(value, str) or not value.endswith("%"):
        return value
    try:
        return float(value[:-1]) / 100
    except ValueError:
        return value


_LETTERS = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def _amount(value: object) -> object:
    """Read text such as `1.2M` or `40G` as a number; leave the rest to what is expected."""
    if not isinstance(value, str) or value[-1:] not in _LETTERS:
        return value
    try:
        return float(value[:-1]) * _LETTERS[value[-1]]
    except ValueError:
        return value


def _path(value: object) -> object:
    """Refuse text that no file can be called, before `Path` makes something else of it."""
    if isinstance(value, str) and not (value.strip() and value.isprintable()):
        message = "is not the name of a file or folder"
        raise ValueError(message)
    return value


Whole = Annotated[int, Strict(), Field(ge=0), BeforeValidator(whole_number)]
Count = Annotated[int, Strict(), Field(ge=1), BeforeValidator(whole_number)]
Scale = Annotated[int, Strict(), Field(ge=1, le=8), BeforeValidator(whole_number)]
Multiple = Annotated[int, Strict(), Field(ge=1, le=64), BeforeValidator(whole_number)]
PatchSize = Annotated[int, Strict(), Field(ge=8), BeforeValidator(whole_number)]
FewCrops = Annotated[int, Strict(), Field(ge=0, le=64), BeforeValidator(whole_number)]
CropSize = Annotated[int, Strict(), Field(ge=16, le=1024), BeforeValidator(whole_number)]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32), BeforeValidator(whole_number)]
Positive = Annotated[float, Strict(), AllowInfNan(False), Field(gt=0)]
Weight = Annotated[float, Strict(), AllowInfNan(False), Field(ge=0)]
Share = Annotated[float, Strict(), Field(ge=0, lt=1)]
Factor = Annotated[float, Strict(), Field(gt=0, lt=1)]
Pattern = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]?:[1-9][0-9]?$")]
Switch = Annotated[bool, Strict()]
Ratio = Annotated[
    float,
    Field(
        gt=0,
        lt=1,
        json_schema_extra={
            "type": ["number", "string"],
            "pattern": r"^[0-9.]+%$",
            "examples": ["45%"],
        },
    ),
    Strict(),
    BeforeValidator(_percentage),
]
Amount = Annotated[
    float,
    Field(
        gt=0,
        json_schema_extra={
            "type": ["number", "string"],
            "pattern": r"^[0-9.]+ ?[kKMGT]$",
            "examples": ["1.2M", "40G"],
        },
    ),
    AllowInfNan(False),
    Strict(),
    BeforeValidator(_amount),
]
FilePath = Annotated[Path, BeforeValidator(_path)]
Glob = Annotated[
    str,
    StringConstraints(min_length=1, pattern=r"^\S(.*\S)?$"),  # names of groups have spaces inside
    Field(examples=["body.*"]),
]


def one_of(*names: str) -> ConfigDict:
    """Say in the JSON schema that exactly one of some keys is given."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in names]})


def need_one(section: BaseModel, *names: str) -> None:
    """Refuse none or several of keys that exclude each other."""
    given = [repr(name) for name in names if getattr(section, name) is not None]
    if not given:
        message = f"needs one of {', '.join(map(repr, names))}"
        raise ValueError(message)
    if len(given) > 1:
        message = (
            f"has {' and '.join(given)}, which exclude each other; "
            "keep one, and set an inherited one to null"
        )
        raise ValueError(message)


class Section(BaseModel):
    """A part of a recipe: it never changes, and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

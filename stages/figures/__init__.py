"""The figures that stages write as JSON for the report: writer and reader share a type, and refuse a key that it lacks.

Each room's types are in a module of their own, so that a change of one runs no other room's stages again.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from stages.errors import DataError
from stages.files import read_json, write_json
from stages.records import first_problem


class Figures(BaseModel):
    """Base of all figures; a field that was not set is not written."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=BaseModel)


def read(path: Path, kind: type[M]) -> M:
    """Return the figures in a file; raise DataError that names the first key which is not one of them."""
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        raise DataError(f"{path}: {first_problem(error)}; run `dvc repro`") from error


def write(path: Path, figures: Figures) -> None:
    write_json(path, figures.model_dump(exclude_unset=True))

"""What fetch recognised in the user's rows, and what format made of all rows."""

from pathlib import Path

from pydantic import ValidationError

from stages.errors import DataError
from stages.figures import Figures
from stages.files import read_json
from stages.records import first_problem


class Recognised(Figures):
    """Columns of the user's rows by the field that they are read as, and `further` ones; `shape` is null if they were named."""

    shape: str | None
    columns: dict[str, str]
    further: list[str]

    def __str__(self) -> str:
        read = ", ".join(f"{name} as {field}" for field, name in self.columns.items())
        how = f"recognised as {self.shape}, " if self.shape else ""
        further = ", ".join(name.strip() or "(a column without a name)" for name in self.further)
        return f"{how}reads {read}" + (f"; not read: {further}" if further else "")


def recognised(path: Path) -> dict[str, Recognised]:
    """Return the columns of the user's rows in data/raw/columns.json; in a mixture those of each data set by its name."""
    found = read_json(path)
    parts = {"": found} if isinstance(found.get("further"), list) else found
    try:
        return {name: Recognised.model_validate(part) for name, part in parts.items()}
    except ValidationError as error:
        raise DataError(f"{path}: {first_problem(error)}; run `dvc repro`") from error


class SplitAudit(Figures):
    """Rows of a split as the model sees them; `end_supervised` is the share whose end token is trained on.

    `longest` and `longest_answer` are in tokens, the latter with its end.
    `lost`: rows with an answer that the tokenizer does not give back; `unknown`: rows with an unknown token in an answer, which
    train and valid leave out; `unknown_prompts`: remaining rows with one in a prompt. `layout_lost`: rows with an answer that
    loses line ends or indentation.
    """

    rows: int
    tokens: int
    supervised_tokens: int
    longest: int
    longest_answer: int
    truncated: int
    dropped: int
    duplicates: int
    control_tokens: int
    lost: int
    unknown: int
    unknown_prompts: int
    layout_lost: int
    end_supervised: float


class Audit(Figures):
    """The splits, the hash of their rendering, training rows removed as overlapping, and training rows by origin.

    Where EWC protects rows of other training data, they are the split `protected`.
    """

    splits: dict[str, SplitAudit]
    rendering: str
    overlap: dict[str, int]
    origin: dict[str, int]

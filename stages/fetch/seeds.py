"""The seed tasks that Self-Instruct starts from."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from stages.records import Message, Task, read

Written = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Seed(BaseModel):
    """One seed task; `choices` are all labels of a classification task, `history` the turns before the question."""

    model_config = ConfigDict(extra="forbid", strict=True)

    instruction: Written
    input: str
    output: Written
    classification: bool
    choices: tuple[str, ...] = ()
    history: tuple[Message, ...] = ()


def seed_tasks(path: Path) -> list[Task]:
    """Return the pool that Self-Instruct starts from (JSON Lines of Seed); DataError names file, line and field."""
    return [
        Task(
            kind="classification" if seed.classification else "text",
            source=f"{path.name}:{number}",
            **seed.model_dump(exclude={"classification"}),
        )
        for number, seed in enumerate(read(path, Seed), start=1)
    ]

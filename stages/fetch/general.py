"""Items that measure forgetting: texts, multiple-choice questions, harmful and harmless requests. None is trained on."""

import re
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stages.params import Retention
from stages.records import HARM, PLAIN_TEXT, Task, read


class Choice(BaseModel):
    """One line of choices.jsonl; `answer` is the position of the right option, from 0."""

    model_config = ConfigDict(strict=True)

    question: str
    options: list[str]
    answer: int = Field(ge=0)

    @model_validator(mode="after")
    def _points_at_an_option(self) -> Self:
        if self.answer >= len(self.options):
            raise ValueError(f"answer: {self.answer} is not a position from 0 to {len(self.options) - 1}")
        return self


class Request(BaseModel):
    """One line of harm.jsonl or harmless.jsonl."""

    model_config = ConfigDict(strict=True)

    prompt: str


def tasks(options: Retention) -> list[Task]:
    """Return passages of the Python documentation, then the tasks of choices.jsonl, harm.jsonl and harmless.jsonl."""
    folder = Path(options.path)
    return [
        *_texts(options.texts, options.words),
        *_questions(folder / "choices.jsonl"),
        *_requests(folder / "harm.jsonl", (HARM,)),
        *_requests(folder / "harmless.jsonl", ()),
    ]


def _texts(count: int, words: int) -> list[Task]:
    """Return the beginnings of the longest topics of `pydoc_data`; they differ between versions of Python."""
    from pydoc_data.topics import topics

    longest = sorted(topics, key=lambda name: (-len(topics[name]), name))[:count]
    beginnings = {name: " ".join(re.split(r"\s+", topics[name].strip())[:words]) for name in longest}
    return [
        Task(kind="text", output=text, source=f"pydoc_data.topics:{name}", slices=(PLAIN_TEXT,))
        for name, text in beginnings.items()
    ]


def _questions(path: Path) -> list[Task]:
    return [
        Task(
            kind="choice",
            instruction=row.question,
            output=row.options[row.answer],
            choices=tuple(row.options),
            source=f"{path.name}:{number}",
        )
        for number, row in enumerate(read(path, Choice), start=1)
    ]


def _requests(path: Path, slices: tuple[str, ...]) -> list[Task]:
    return [
        Task(kind="text", instruction=row.prompt, output="", source=f"{path.name}:{number}", slices=slices)
        for number, row in enumerate(read(path, Request), start=1)
    ]

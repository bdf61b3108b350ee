"""The records that travel between stages, their ids, and reading and writing them as JSON Lines.

Every record is immutable and has an `id` made from its content and a tuple of `parents`, the ids it was made from. Lineage
is nothing but these ids: two runs that make the same record give it the same id, and a changed record gets another one.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from stages.errors import DataError
from stages.files import lines, write_text

TaskKind = Literal["extraction", "text", "choice", "classification", "summary", "translation"]
# Slices that a metric looks for: items whose right answer is to decline; texts without a question; requests to refuse.
UNANSWERABLE, PLAIN_TEXT, HARM = "unanswerable", "plain_text", "harm"
Role = Literal["system", "user", "assistant"]


class Message(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    content: str


class Record(BaseModel):
    """Base of everything that is stored between stages; fields at their default are neither stored nor part of the id."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    prefix: ClassVar[str] = "record"

    id: str = ""
    parents: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _id_is_content_hash(self) -> Self:
        expected = f"{self.prefix}-{content_hash(self.model_dump(exclude={'id'}, exclude_defaults=True))[:16]}"
        if self.id not in ("", expected):
            raise ValueError(f"id {self.id} does not match the content, expected {expected}: the record was edited")
        object.__setattr__(self, "id", expected)
        return self


class Document(Record):
    """A passage of text and where it comes from, e.g. a complaint body or a document layout."""

    prefix: ClassVar[str] = "doc"

    text: str
    kind: str
    source: str


class Fact(Record):
    """An edge of a knowledge graph and where it is stated."""

    prefix: ClassVar[str] = "fact"

    subject: str
    relation: str
    object: str
    source: str


class Style(BaseModel):
    """What an answer's form must be, whatever it says: a band of words, phrases it must hold and must not hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_words: int | None = None
    max_words: int | None = None
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()


class Task(Record):
    """What is asked and the right answer, before any model's format.

    `source` is what errors are clustered by (a layout, a document, an entity, a row); `slices` name the hard features of the
    row; `choices` are all possible answers of a closed question, the right one among them.
    """

    prefix: ClassVar[str] = "task"

    kind: TaskKind
    system: str = ""
    history: tuple[Message, ...] = ()
    instruction: str = ""
    input: str = ""
    output: str
    source: str
    slices: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    style: Style | None = None


class Example(Record):
    """A chat that a model is trained or tested on; the last message is the reference answer."""

    prefix: ClassVar[str] = "ex"

    kind: TaskKind
    messages: tuple[Message, ...]
    source: str
    slices: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    style: Style | None = None

    @property
    def prompt(self) -> tuple[Message, ...]:
        return self.messages[:-1]

    @property
    def reference(self) -> str:
        return self.messages[-1].content


class Call(Record):
    """One request to a teacher and its answer; `request` is the request's hash, by which a recording is replayed."""

    prefix: ClassVar[str] = "call"

    messages: tuple[Message, ...]
    request: str
    text: str
    stopped: bool
    prompt_tokens: int
    new_tokens: int


class Rejection(Record):
    """A candidate that a filter threw out; `parents` name the call that wrote it."""

    prefix: ClassVar[str] = "rejected"

    text: str
    filter: str
    reason: str


class Prediction(Record):
    """What one system answered to one example; `stopped` is false where it ran into the token limit.

    `choice_logprobs` and `choice_tokens` belong to the example's choices, `reference_logprob` (nats) to the reference and its
    end token; None where it was not measured.
    """

    prefix: ClassVar[str] = "pred"

    example: str
    system: str
    text: str
    stopped: bool
    prompt_tokens: int
    new_tokens: int
    choice_logprobs: tuple[float, ...] = ()
    choice_tokens: tuple[int, ...] = ()
    reference_logprob: float | None = None
    reference_tokens: int = 0


class Score(Record):
    """One system on one example: `scores` lie between 0 and 1, higher is better; `measures` are other numbers of the answer."""

    prefix: ClassVar[str] = "score"

    example: str
    system: str
    source: str
    slices: tuple[str, ...] = ()
    scores: dict[str, float]
    measures: dict[str, float] = {}


R = TypeVar("R", bound=Record)


def content_hash(value: Any) -> str:
    """sha256 of a JSON-serialisable value, independent of key order."""
    canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def read(path: Path, record: type[R]) -> Iterator[R]:
    """Yield the records of a JSON Lines file; a bad line raises DataError with file and line."""
    for number, line in enumerate(lines(path), start=1):
        try:
            yield record.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "record"
            raise DataError(f"{path}:{number}: {where}: {first['msg']}") from error


def write(path: Path, records: Iterable[Record]) -> int:
    """Write records as JSON Lines, all or nothing, and return how many."""
    rows = [record.model_dump_json(exclude_defaults=True) for record in records]
    write_text(path, "".join(row + "\n" for row in rows))
    return len(rows)


def aligned(path: Path, examples: Sequence[Example]) -> list[Prediction]:
    """The predictions of <system>.jsonl in the order of the examples, all of a split.

    DataError where an example has none or several, where one answers no example, or is another system's.
    """
    predictions = list(read(path, Prediction))
    found = {prediction.example: prediction for prediction in predictions}
    if missing := [example.id for example in examples if example.id not in found]:
        raise DataError(f"{path}: no prediction for {len(missing)} of {len(examples)} rows, e.g. {missing[0]}; run `dvc repro`")
    if others := [prediction.system for prediction in predictions if prediction.system != path.stem]:
        raise DataError(f"{path}: {len(others)} predictions of other systems, e.g. {others[0]}; run `dvc repro`")
    answered = Counter(prediction.example for prediction in predictions)
    if surplus := list(answered - Counter(example.id for example in examples)):
        why = "has more than one prediction" if surplus[0] in {e.id for e in examples} else "is not a row of the split"
        raise DataError(f"{path}: {surplus[0]} {why}; run `dvc repro`")
    return [found[example.id] for example in examples]

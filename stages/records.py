"""The records that travel between stages, their ids, and reading and writing them as JSON Lines.

Every record is immutable. Its `id` is a hash of its content, and `parents` are the ids it was made from; lineage consists
of these ids. Two runs that make the same record give it the same id, and a changed record gets another one.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
    model_validator,
)

from stages.errors import DataError
from stages.files import lines, write_parts

TaskKind = Literal["extraction", "text", "choice", "classification", "summary", "translation"]
# Slices that metrics use: items whose right answer is to decline; texts without a question; requests to refuse.
UNANSWERABLE, PLAIN_TEXT, HARM = "unanswerable", "plain_text", "harm"
Role = Literal["system", "developer", "user", "assistant", "tool"]
MOST_TOKENS = 2**53  # of one request; a price multiplies them, and a float holds no larger integer exactly
Tokens = Annotated[int, Field(ge=0, lt=MOST_TOKENS)]
Phrase = Annotated[str, StringConstraints(pattern=r"\S")]


class ToolCall(BaseModel):
    """A call of a tool; `arguments` are a JSON object as text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    arguments: str
    id: str = ""


class Message(BaseModel):
    """One turn of a chat; fields with their default value are not stored.

    A turn that is not `trained` is only context. `tools`, a JSON list as text, describes on the first turn what the chat may
    call. `name` and `tool_call_id` belong to the answer of a tool. A prompt `thinks` if its answer begins with reasoning.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    content: str
    trained: bool = True
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tools: str = ""
    name: str = ""
    tool_call_id: str = ""
    thinks: bool = False

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {name: value for name, value in serialize(self).items() if getattr(self, name) != fields[name].default}


class Record(BaseModel):
    """Base of all records; fields with their default value are neither stored nor part of the id."""

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
    """A passage of text and its origin, e.g. a complaint body or a document layout."""

    prefix: ClassVar[str] = "doc"

    text: str
    kind: str
    source: str


class Fact(Record):
    """An edge of a knowledge graph and its origin."""

    prefix: ClassVar[str] = "fact"

    subject: str
    relation: str
    object: str
    source: str


class Style(BaseModel):
    """Requirements on the form of an answer: a range of words, required and forbidden phrases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_words: Annotated[int, Field(ge=0)] | None = None
    max_words: Annotated[int, Field(ge=1)] | None = None
    required: tuple[Phrase, ...] = ()
    forbidden: tuple[Phrase, ...] = ()

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if self.max_words is not None and (self.min_words or 0) > self.max_words:
            raise ValueError(f"min_words = {self.min_words} is above max_words = {self.max_words}")
        if both := {phrase.casefold() for phrase in self.required} & {phrase.casefold() for phrase in self.forbidden}:
            raise ValueError(f"{sorted(both)[0]!r} is both required and forbidden")
        return self


class Task(Record):
    """A question and the right answer, before any model's format.

    `source` defines the clusters of standard errors (layout, document, entity or row). `slices` name the hard
    features of the row. `choices` are all possible answers to a closed question, including the right one. A chat may call
    `tools`; `reasoning` and `tool_calls` belong to the right answer. Instruction and input are empty after a tool's turn.
    `dataset` is the data set in a mixture.
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
    tools: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    dataset: str = ""


class Example(Record):
    """A chat for training or testing a model; the last message is the reference answer.

    `written` is the reference as the model writes it, where that is more than its text: calls of tools.
    """

    prefix: ClassVar[str] = "ex"

    kind: TaskKind
    messages: tuple[Message, ...]
    source: str
    slices: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    style: Style | None = None
    written: str = ""
    dataset: str = ""

    @property
    def prompt(self) -> tuple[Message, ...]:
        *before, answer = self.messages
        if answer.reasoning and before:
            before[-1] = before[-1].model_copy(update={"thinks": True})
        return tuple(before)

    @property
    def reference(self) -> str:
        return self.written or self.messages[-1].content


class Call(Record):
    """One request to a teacher and its answer; `request` is its hash, by which a recorded answer is found.

    `thoughts` are what the model wrote before its answer. `finish_reason` is the server's word for how the answer ended.
    """

    prefix: ClassVar[str] = "call"

    messages: tuple[Message, ...]
    request: str
    text: str
    stopped: bool
    prompt_tokens: Tokens
    new_tokens: Tokens
    thoughts: str = ""
    finish_reason: str = ""


class Rejection(Record):
    """A candidate that a filter rejected; `parents` name the call that wrote it."""

    prefix: ClassVar[str] = "rejected"

    text: str
    filter: str
    reason: str


class Prediction(Record):
    """The answer of one system to one example; `stopped` is false if it reached the token limit.

    `thoughts` precede the text where the reference has thoughts too; only the text is scored.
    `choice_logprobs` and `choice_tokens` belong to the example's choices. `reference_logprob` (nats) is that of the reference
    and its end token, or None if it was not measured.
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
    thoughts: str = ""


class Score(Record):
    """One system on one example: `scores` lie between 0 and 1, higher is better; `measures` are other numbers."""

    prefix: ClassVar[str] = "score"

    example: str
    system: str
    source: str
    slices: tuple[str, ...] = ()
    scores: dict[str, float]
    measures: dict[str, float] = {}


M = TypeVar("M", bound=BaseModel)


def content_hash(value: Any) -> str:
    """Return the sha256 of a JSON-serialisable value, independent of key order."""
    canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def first_problem(error: ValidationError) -> str:
    """Return the first error of pydantic, after the field that it is about."""
    first = error.errors()[0]
    return ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))


def parsed(line: str | bytes, model: type[M], place: str) -> M:
    """Return a line of JSON as a model; raise DataError with place and field if it is none."""
    try:
        return model.model_validate_json(line)
    except ValidationError as error:
        raise DataError(f"{place}: {first_problem(error)}") from error


def read(path: Path, model: type[M]) -> Iterator[M]:
    """Yield the records of a JSON Lines file; raise DataError with file and line if a line is not a record."""
    for number, line in enumerate(lines(path), start=1):
        yield parsed(line, model, f"{path}:{number}")


def write(path: Path, records: Iterable[Record]) -> None:
    """Write records as JSON Lines, all or none, with one of them in memory."""
    write_parts(path, (record.model_dump_json(exclude_defaults=True) + "\n" for record in records))


def aligned(path: Path, examples: Sequence[Example]) -> list[Prediction]:
    """Return the predictions of <system>.jsonl in the order of the examples, which are all of a split.

    Raise DataError if an example has none or several, or if one belongs to no example or to another system.
    """
    predictions = list(read(path, Prediction))
    by_example = {prediction.example: prediction for prediction in predictions}
    if missing := [example.id for example in examples if example.id not in by_example]:
        raise DataError(f"{path}: no prediction for {len(missing)} of {len(examples)} rows, e.g. {missing[0]}; run `dvc repro`")
    if others := [prediction.system for prediction in predictions if prediction.system != path.stem]:
        raise DataError(f"{path}: {len(others)} predictions of other systems, e.g. {others[0]}; run `dvc repro`")
    answered = Counter(prediction.example for prediction in predictions)
    if surplus := list(answered - Counter(example.id for example in examples)):
        why = "has more than one prediction" if surplus[0] in {e.id for e in examples} else "is not a row of the split"
        raise DataError(f"{path}: {surplus[0]} {why}; run `dvc repro`")
    return [by_example[example.id] for example in examples]

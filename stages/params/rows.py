"""The section for your own rows, from a file or the hub, and for several data sets of such rows in one run."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from stages.params.base import Count, Fraction, Name, Positive, Section, Text


class HubRows(Section):
    """A data set on the Hugging Face hub; `revision` may be a branch, whose commit data/raw/hub.json records.

    `split` is the split to read, null if data.splits names those to read.
    `config` names one of its configurations (subsets); null or left out: it has one, or names its default.
    """

    repo: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Text
    config: Text | None = None
    split: Name | None


class PublishedSplits(Section):
    """Files in data.path, or splits of the hub, that hold a split each; null: made of rows of `train`."""

    train: Text
    valid: Text | None
    test: Text | None


class Columns(Section):
    """Names of the columns: either `messages`, or `output` with `input`, `instruction` or both.

    A field that is null or left out has no column. `options` is for multiple-choice questions, `tools` for messages, `style`
    for the length and the phrases of an answer.
    """

    messages: str | None = None
    tools: str | None = None
    system: str | None = None
    instruction: str | None = None
    input: str | None = None
    output: str | None = None
    options: str | None = None
    group: str | None = None
    style: str | None = None

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        if self.messages and any((self.instruction, self.input, self.output, self.options)):
            raise ValueError("messages already contain input and output; set those columns to null")
        if self.tools and not self.messages:
            raise ValueError("tools are for the column messages, which calls them; name it, or set tools to null")
        if not self.messages and not (self.output and (self.instruction or self.input)):
            raise ValueError("name either messages, or output together with instruction or input")
        return self


def form(columns: Any) -> str:
    """Return the tag of a key that is `auto` or names columns."""
    return "named" if isinstance(columns, dict | Section) else "auto"


NamedColumns = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[Columns, Tag("named")], Discriminator(form)
]  # auto: recognised by stages/fetch/recognition.py


Code = Annotated[str, BeforeValidator(lambda key: str(key).lower() if type(key) in (int, bool) else key)]  # as YAML reads 0


class FurtherTask(Section):
    """A further task on the training rows: its system prompt, and the column with its answers."""

    system: Text
    output: Text


SLOT = re.compile(r"\{\{\s*([^\s{}][^{}]{0,200}?)\s*\}\}")  # of a column in a wording


def _with_slots(value: str) -> str:
    """Refuse what Jinja has besides {{ name }}: a wording is a text with columns, no program."""
    if not SLOT.search(value):
        raise ValueError("names no column, so all prompts would be equal; write one as `{{ name }}`")
    if found := re.search(r"\{\{|\}\}|\{%|\{#", SLOT.sub("", value)):
        rest = SLOT.sub("", value)[found.start() :][:40]
        raise ValueError(f"only `{{{{ name }}}}` with the name of a column is read, not {rest!r}")
    return value


class Wording(Section):
    """A wording of the prompt, in which `{{ name }}` is a column, and its share of the rows; shares need not add up to 1."""

    text: Annotated[Text, AfterValidator(_with_slots)]
    share: Annotated[float, Field(ge=1e-6, le=1e6)]


class RowsData(Section):
    """Your own rows from a CSV, JSON or JSONL file, or from the hub; without a hub `path` replaces it.

    With `splits`, `path` is a folder with a file for each, and the shares `valid` and `test` apply to those it leaves out.
    `labels` gives the name of each label that the file holds as a number or a code, as `id2label` of a model does; of a
    choice, the letter or the text of the option.
    `orders` is the number of orders of its options in which a test question is asked; a training row gets one random order.
    0: all orders are as in the file.
    """

    kind: Literal["rows"]
    path: Text
    hub: HubRows | None
    splits: PublishedSplits | None
    task: Literal["extraction", "text", "choice", "classification", "summary", "translation"]
    system: str
    columns: NamedColumns
    labels: Annotated[dict[Code, Text], Field(min_length=2)] | None
    wordings: list[Wording]
    also: list[FurtherTask]
    orders: Count
    valid: Fraction
    test: Fraction

    @model_validator(mode="after")
    def _options_belong_to_choices(self) -> Self:
        named = None if self.columns == "auto" else self.columns
        if named and (self.task == "choice") != bool(named.options):
            raise ValueError(
                "task: choice and columns.options go together: name the column with the options, or set it to null"
            )
        if self.orders and self.task != "choice":
            raise ValueError(f"orders = {self.orders} with task = {self.task}: only task: choice has options; set it to 0")
        if self.labels and self.task not in ("classification", "choice"):
            raise ValueError(f"labels with task = {self.task}: only classification and choice have labels; set it to null")
        if self.wordings and named and named.messages:
            raise ValueError("wordings write the prompt from columns, but columns.messages holds whole chats; set it to []")
        if self.also and named and named.messages:
            raise ValueError(
                "also asks further tasks about the column `input`, which is not used with columns.messages; set it to []"
            )
        return self

    @model_validator(mode="after")
    def _splits_are_named_once(self) -> Self:
        if self.hub and bool(self.hub.split) == bool(self.splits):
            raise ValueError(
                "name either hub.split, which is divided, or the published splits in splits; set the other to null"
            )
        named = [name for _, name in self.splits or () if name]
        if len(set(named)) < len(named):
            raise ValueError(
                f"splits: {', '.join(named)}: each split needs its own rows; set valid or test to null to divide train"
            )
        if not self.hub and (outside := [name for name in named if Path(name).is_absolute() or ".." in Path(name).parts]):
            raise ValueError(f"splits: {outside[0]}: not in the folder path; name a file in it")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Return the shares of the rows that are divided by split; a published split has none."""
        of = {name: 0.0 if self.splits and getattr(self.splits, name) else getattr(self, name) for name in ("valid", "test")}
        return {"train": 1 - sum(of.values()), **of}

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.shares["train"] <= 0:
            raise ValueError("valid + test leave nothing to train on; their sum must be below 1")
        return self


class Mix(Section):
    """How many training rows of each data set are drawn: numbers, or weights; null: all. A set without a number gives all.

    A set with the number 0 is only tested. `protect` are numbers of training rows, drawn in the same way, whose answers EWC
    protects.
    """

    rows: dict[Name, Count] | None
    weights: dict[Name, Annotated[float, Field(ge=1e-6, le=1e6)]] | None
    protect: dict[Name, Positive] | None


class MixData(Section):
    """Several data sets in one run, by name, each as a file of conf/data/ of kind rows; their files are in the folder `path`.

    `system` is the system prompt of texts that `tunetrail predict` is given.
    """

    kind: Literal["mix"]
    path: Text
    system: str
    sets: Annotated[dict[Name, RowsData], Field(min_length=2)]
    mix: Mix

    @model_validator(mode="after")
    def _sets_are_known(self) -> Self:
        if self.mix.rows and self.mix.weights:
            raise ValueError("mix.rows and mix.weights both say how many rows are drawn; set one to null")
        names = ", ".join(self.sets)
        for key, given in (("rows", self.mix.rows), ("weights", self.mix.weights), ("protect", self.mix.protect)):
            if unknown := [name for name in given or () if name not in self.sets]:
                raise ValueError(f"mix.{key}.{unknown[0]}: no such data set; there are {names}")
        if self.mix.rows and len(self.mix.rows) == len(self.sets) and not any(self.mix.rows.values()):
            raise ValueError(f"mix.rows: 0 of each of {names} leaves nothing to train on; raise one")
        if self.mix.weights and (missing := [name for name in self.sets if name not in self.mix.weights]):
            raise ValueError(f"mix.weights: {missing[0]} is missing; each of {names} needs a weight")
        for name, part in self.sets.items():
            if not part.hub and not Path(os.path.normpath(part.path)).is_relative_to(os.path.normpath(self.path)):
                raise ValueError(
                    f"sets.{name}.path: {part.path} is not in path = {self.path}, so DVC would not see it change; move it"
                )
        return self

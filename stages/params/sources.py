"""The section for the data."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from stages.params.base import Count, Fraction, Package, Positive, Section, Sha256, Text
from stages.params.rows import MixData, RowsData


class Splits(Section):
    train: Positive
    valid: Positive
    test: Positive


Locale = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}_[A-Z]{2}$")]


class Accents(Section):
    """Share of rows in each split whose customer has letters outside ASCII."""

    locales: Annotated[list[Locale], Field(min_length=1)]
    train: Fraction
    valid: Fraction
    test: Fraction


class ComplaintsData(Section):
    """Complaints composed from authored bodies and layouts with people from Faker."""

    kind: Literal["complaints"]
    path: Text
    locale: Locale
    system: Text
    indent: Positive | None
    rows: Splits
    missing: Fraction
    second_email: Fraction
    noise: Fraction
    accents: Accents
    train_hard: Annotated[float, Field(ge=1)]

    @model_validator(mode="after")
    def _shares_stay_shares(self) -> Self:
        if self.train_hard * max(self.missing, self.second_email, self.noise) > 1:
            raise ValueError(
                f"train_hard = {self.train_hard:g} times the largest of missing, second_email and noise is above 1"
            )
        return self


class FolderDocuments(Section):
    """The files in `documents/` of data.path; an id is a file's path there, and the row of a table or the page of a PDF."""

    source: Literal["folder"]


class WheelDocuments(Section):
    """A JSON list of objects with id, title and content, gzipped or not, inside a wheel of the package index."""

    source: Literal["wheel"]
    package: Package
    file: Text
    sha256: Sha256


class DocumentsData(Section):
    """Documents, and authored questions about them in valid.jsonl, test.jsonl and, if there is one, train.jsonl of `path`.

    `include` is a shell pattern of ids. `subject` is a regular expression over ids for documents about many similar things;
    its group, with `_` as a space, is the name of the thing; null: the title is. `decline` is the right answer to a question
    that the documents do not answer. `out_of_domain` is a file in `path` with a question about something else on each line.
    """

    kind: Literal["documents"]
    path: Text
    documents: Annotated[FolderDocuments | WheelDocuments, Field(discriminator="source")]
    include: Text
    subject: Text | None
    system: Text
    decline: Text
    out_of_domain: Text | None

    @model_validator(mode="after")
    def _subject_has_one_group(self) -> Self:
        try:
            groups = re.compile(self.subject).groups if self.subject else 1
        except re.error as error:
            raise ValueError(f"subject is not a regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"subject must have one group, the subject's name; it has {groups}")
        return self


class PinnedFile(Section):
    """A file of a package, and its sha256."""

    file: Text
    sha256: Sha256


class FileFacts(Section):
    """A CSV, JSON or JSONL file in `data.path` with the columns subject, relation, object and, optionally, source."""

    source: Literal["file"]
    file: Text


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value


Relation = Literal[
    "feature",
    "obligate feature",
    "very frequent feature",
    "frequent feature",
    "occasional feature",
    "very rare feature",
    "plain name",
    "broader term",
]


class HpoFacts(Section):
    """Diseases and features of the Human Phenotype Ontology, from a wheel of the package index."""

    source: Literal["hpo"]
    package: Package
    ontology: PinnedFile
    annotations: PinnedFile
    database: Literal["ORPHA", "OMIM", "DECIPHER"]
    relations: Annotated[list[Relation], Field(min_length=1)]
    exclude: Annotated[str, AfterValidator(_regex)]
    common: Positive
    max_name: Positive
    diseases: Positive
    features: Positive
    terms: Count


class Items(Section):
    """The number of questions in each slice."""

    trained_facts: Count
    held_out_facts: Count
    new_entities: Count
    open: Count
    unanswerable: Count


class AskedItems(Section):
    valid: Items
    test: Items


class GraphData(Section):
    """Facts of a graph, and questions about them in the wordings of `path`/wordings/{train,valid,test}.yaml."""

    kind: Literal["graph"]
    path: Text
    facts: Annotated[FileFacts | HpoFacts, Field(discriminator="source")]
    system: str
    decline: Text
    notice: str
    new_entities: Annotated[float, Field(ge=0, lt=1)]
    held_out: Annotated[float, Field(ge=0, lt=1)]
    distractors: Positive
    rows: AskedItems


Data = Annotated[ComplaintsData | RowsData | MixData | DocumentsData | GraphData, Field(discriminator="kind")]

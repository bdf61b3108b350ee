"""Sections for synthetic data: the teacher, the methods and the budget."""

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from stages.params.base import Count, Fraction, Positive, Section, Sha256, Text, unescaped
from stages.params.models import Model

# Of an address without user, query and key: what begins one of them, also where an escape wrote it, and usual forms of a key.
SECRET_PART = re.compile(
    r"""
      [@?\#;=&\s\\]
    | (?<![A-Za-z])(?:(?:sk|pk|gsk|csk|glpat|xai|xox[abp]|pplx|nvapi|tgp)[-_](?:\w{8}|(?=[\w-]{8})[\w-]*\d)
        |(?:hf|r8|gh[opsu]|github_pat)_\w{8}|eyJ\w|AIza\w|AKIA\w)
    """,
    re.VERBOSE,
)
# Paths of single requests, which the client adds. A model catalogue of Azure has an address that ends in /models.
REQUEST = re.compile(
    r"(?:(?:/chat)?/completions|/responses|/messages|/embeddings|(?:(?<=/v\d)|(?<=/v\dbeta))/models)/*$", re.IGNORECASE
)


class Sampling(Section):
    """How a teacher samples: temperature 0 is greedy; the presence penalty lowers the logits of tokens already written."""

    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    presence_penalty: Annotated[float, Field(ge=-2, le=2)]
    max_new_tokens: Positive


def _without_secrets(url: str) -> str:
    """Refuse a password or a key in the address: params.yaml, dvc.lock and reports would keep it in git."""
    try:
        parts = urlsplit(url)
        known = parts.hostname and parts.port != 0  # raises ValueError if it is not a number
    except ValueError:
        known = False
    if not known or not url.isprintable() or SECRET_PART.search(unescaped(url)):
        raise ValueError(
            "must be scheme, host, port and path, without user, password or query, which git would keep; "
            "put the key into an environment variable and its name into api_key_env"
        )
    return url


def _without_request(url: str) -> str:
    if found := REQUEST.search(url):
        raise ValueError(f"ends in {found[0]}, the path of a request, which the client adds; write the address without it")
    return url


class LocalTeacher(Section):
    """A transformers model that answers in batches on this machine; `model: null` is the base model itself."""

    kind: Literal["local"]
    model: Model | None
    batch_size: Positive


class Price(Section):
    usd_per_million_input: Annotated[float, Field(ge=0)]
    usd_per_million_output: Annotated[float, Field(ge=0)]


LimitField = Literal["max_tokens", "max_completion_tokens"]
OptionalField = Literal["seed", "temperature", "top_p", "presence_penalty"]


class Connection(Section):
    """A server with OpenAI's chat completions; `api_key_env` names the variable with the key, null if none is needed.

    `limit_field` names the field of a request that holds max_new_tokens. The fields in `omit` are not sent.
    """

    base_url: Annotated[
        str, StringConstraints(pattern=r"^https?://"), AfterValidator(_without_secrets), AfterValidator(_without_request)
    ]
    api_key_env: Annotated[str, StringConstraints(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None
    concurrency: Positive
    timeout_seconds: Annotated[float, Field(gt=0)]
    max_retries: Count
    limit_field: LimitField
    omit: list[OptionalField]


class OpenAITeacher(Connection):
    """A teacher behind such a server."""

    kind: Literal["openai"]
    model: Text
    price: Price


class ReplayTeacher(Section):
    """Answers only from a recorded calls.jsonl."""

    kind: Literal["replay"]
    path: Text
    sha256: Sha256


Teacher = Annotated[LocalTeacher | OpenAITeacher | ReplayTeacher, Field(discriminator="kind")]


class Budget(Section):
    """Limits per synthesis instance; one that reaches a limit keeps the answers so far. null: no limit."""

    max_calls: Positive | None
    max_tokens: Positive | None
    max_usd: Annotated[float, Field(gt=0)] | None


class ComplaintInstruct(Section):
    """Self-Instruct (Wang et al. 2023, arXiv:2212.10560) in its complaint form: new bodies from a growing pool of bodies.

    Here and below, `filters` run in this order; filters that are not named are off.
    """

    form: Literal["complaints"]
    calls: Positive
    requests: Positive
    human: Positive
    machine: Count
    min_words: Positive
    max_words: Positive
    max_rouge_l: Fraction
    max_repetition: Fraction
    filters: list[Literal["finished", "length", "leftovers", "repetition", "novelty"]]
    rows: Count
    sampling: Sampling

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError("min_words must not be above max_words")
        return self


class LanguageRules(Section):
    """Rules for instructions in a language; in languages without spaces a character counts as a word."""

    min_words: Positive
    max_words: Positive
    keywords: list[Text]
    prefixes: list[Text]


class Rules(Section):
    en: LanguageRules
    zh: LanguageRules


InstructionFilter = Literal["finished", "length", "keywords", "prefix", "punctuation", "script", "novelty"]
InstanceFilter = Literal["finished", "echo", "empty", "colon", "conflict", "duplicate", "surplus"]


class GeneralInstruct(Section):
    """Self-Instruct as published: new instructions from a growing pool, their classification, instances of each.

    It ends at `target` instructions, after `patience` rounds without a new one, or when the budget is spent.
    """

    form: Literal["general"]
    target: Positive
    patience: Positive
    requests: Positive
    human: Positive
    machine: Count
    instances: Positive
    languages: Annotated[list[Literal["en", "zh"]], Field(min_length=1)]
    rules: Rules
    max_rouge_l: Fraction
    filters: list[InstructionFilter]
    instance_filters: list[InstanceFilter]
    include_seeds: bool
    instruction_sampling: Sampling
    classification_sampling: Sampling
    instance_sampling: Sampling


SelfInstruct = Annotated[ComplaintInstruct | GeneralInstruct, Field(discriminator="form")]


class Passage(Section):
    """Maximum length and overlap of passages, in words; a Chinese, Japanese or Korean character counts as a word."""

    words: Positive
    overlap: Count

    @model_validator(mode="after")
    def _moves_on(self) -> Self:
        if self.overlap >= self.words:
            raise ValueError("overlap must be below words")
        return self


class Shares(Section):
    """Shares of all rows; the rest is answered without a passage. All but `with_passage` are to be declined."""

    with_passage: Fraction
    unanswerable: Fraction
    wrong_passage: Fraction
    out_of_domain: Fraction

    @model_validator(mode="after")
    def _leave_some(self) -> Self:
        if self.with_passage + self.unanswerable + self.wrong_passage + self.out_of_domain >= 1:
            raise ValueError("the shares leave no rows without a passage; their sum must be below 1")
        return self


class SelfQa(Section):
    """Self-QA (Zhang and Yang 2023, arXiv:2305.11952): questions from passages, answers read from them.

    `wordings` is the number of the rules' questions per statement, `questions` that of the teacher's per passage. `min_f1`
    is the least token F1 between a teacher's answer and its answer when asked again. `rows` is the number of rows, up to the
    rounding of the shares; null: all.
    """

    generator: Literal["rules", "teacher", "both"]
    passage: Passage
    wordings: Positive
    questions: Positive
    filters: list[Literal["self_contained", "grounded", "round_trip", "duplicates"]]
    min_f1: Fraction
    rows: Positive | None
    shares: Shares
    question_sampling: Sampling
    answer_sampling: Sampling

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        possible = [
            "self_contained",
            "grounded",
            "round_trip",
            "duplicates",
        ]  # filters of questions run before those of answers
        if self.filters != [name for name in possible if name in self.filters]:
            raise ValueError(f"filters: the order is {', '.join(possible)}; leave out those to switch off")
        return self


class SelfKG(Section):
    """Self-KG (Wang et al. 2023, arXiv:2304.06975): the number of wordings of each form per fact or group of facts.

    `templates`: whether pairs made by templates are rows; `reword` is the number of them that the teacher rewords.
    """

    open: Count
    yes_no: Count
    choice: Count
    declining: Count
    templates: bool
    reword: Count
    filters: list[Literal["finished", "entities_survived", "numbers_survived", "negation_survived", "duplicate"]]
    sampling: Sampling

    @model_validator(mode="after")
    def _writes_something(self) -> Self:
        if not self.templates and not self.reword:
            raise ValueError("templates: false with reword: 0 leaves no rows; set one of them")
        return self


Method = Literal["self_instruct", "self_qa", "self_kg", "none"]


class Nothing(Section):
    """The method `none`, which has no options: a matrix in dvc.yaml cannot be empty."""


class Synthesis(Section):
    methods: Annotated[list[Method], Field(min_length=1)]
    budget: Budget
    none: Nothing
    self_instruct: SelfInstruct
    self_kg: SelfKG
    self_qa: SelfQa

    @model_validator(mode="after")
    def _methods_make_sense(self) -> Self:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError("methods must not repeat")
        if "none" in self.methods and len(self.methods) > 1:
            raise ValueError("methods: none cannot be combined with others")
        return self

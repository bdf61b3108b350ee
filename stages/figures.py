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


Cost = SynthesisCost | TrainingCost | PredictionCost


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

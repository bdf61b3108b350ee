"""Everything the report is made from, as one object, and the rows of the plots and of cost.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from stages.figures import Figures
from stages.figures.alignment import Alignment, AlignmentCost
from stages.figures.answers import Agreement, PredictionCost
from stages.figures.cost import Machine
from stages.figures.engine import Engine
from stages.figures.preferences import Preferences, PreferencesCost
from stages.figures.retention import Retained, RetentionCost
from stages.figures.rows import Audit, Recognised
from stages.figures.synthesis import Funnel, SynthesisCost
from stages.figures.training import Training, TrainingCost
from stages.models.manifest import Manifest
from stages.params.results import Report
from stages.records import Example, Prediction

Number = int | float | str  # a text says how others were computed
Cost = SynthesisCost | TrainingCost | PredictionCost | PreferencesCost | AlignmentCost | RetentionCost


class Totals(BaseModel):
    """Rows of two plots, by column; every other key is a system with its numbers that are not means over rows."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, dict[str, Number]]

    confusion: list[dict[str, Number]]
    reliability: list[dict[str, Number]]

    def of(self, system: str) -> dict[str, Number]:
        return self.__pydantic_extra__[system]


class Counted(Figures):
    """Answers of people: how many were yes, of how many."""

    yes: int
    of: int


class Asked(Figures):
    """A question to people, and its answers."""

    question: str
    yes: int
    of: int


class Judged(Figures):
    """What people answered about synthetic rows: by question, and for rows with an answer to every question."""

    ids: list[str]
    questions: dict[str, Asked]
    all: Counted


@dataclass(frozen=True)
class Evidence:
    """What the earlier stages wrote.

    `predictions` is keyed by system and example id, `hashes` and `totals` by system, `data` by split. Hashes are md5, as in
    dvc.lock. `plots` holds the plots that evaluate makes, by name. `retention` is keyed by base, tuned_<seed> or
    aligned_<seed>, `training` and `agreement` by seed, `costs` by step, e.g. train_42. `funnels` is empty where nothing was
    synthesised. `judged` is None where nobody judged synthetic rows; `columns`, keyed by data set in a mixture, is empty where
    the data are not the user's.
    `pretraining`, `preferences` and `alignment`, by seed, are empty where they were not asked for. `engine` is None where
    transformers answered; else `served`, by system, is how far transformers agrees with it.
    """

    examples: list[Example]
    predictions: dict[str, dict[str, Prediction]]
    hashes: dict[str, str]
    data: dict[str, str]
    commit: str
    totals: dict[str, dict[str, Number]]
    plots: dict[str, list[dict[str, Number]]]
    retention: dict[str, Retained]
    audit: Audit
    funnels: list[Funnel]
    judged: Judged | None
    training: dict[int, Training]
    agreement: dict[int, Agreement]
    costs: dict[str, Cost]
    base: Manifest
    columns: Mapping[str, Recognised]
    pretraining: dict[int, Training] = field(default_factory=dict)
    preferences: dict[int, Preferences] = field(default_factory=dict)
    alignment: dict[int, Alignment] = field(default_factory=dict)
    engine: Engine | None = None
    served: dict[str, Agreement] = field(default_factory=dict)

    @property
    def machine(self) -> Machine:
        """The machine that trained."""
        return next(cost.machine for step, cost in self.costs.items() if step.startswith("train_"))


def loss_rows(training: Mapping[int, Training]) -> list[dict[str, float | None]]:
    """Return one row per step with a logged loss; a row names its seed only if there are several."""
    rows: list[dict[str, float | None]] = []
    for seed, run in training.items():
        train = {entry.step: entry.loss for entry in run.log}
        valid = {entry.step: entry.loss for entry in run.validation}
        for step in sorted({*train, *valid}):
            row = {"step": step, "train": train.get(step), "valid": valid.get(step)}
            rows.append(row if len(training) == 1 else {"seed": seed, **row})
    return rows


def funnel_rows(funnels: Sequence[Funnel]) -> list[dict[str, Number]]:
    """Return one row per method and filter."""
    return [{"method": funnel.method, **stage.model_dump()} for funnel in funnels for stage in funnel.stages]


def synthesis(funnels: Sequence[Funnel]) -> dict[str, dict[str, Number | None]]:
    """Return by method: the candidates left after each filter, the training rows, and the figures that are single numbers."""
    return {
        funnel.method: {
            **{stage.stage: stage.count for stage in funnel.stages},
            "rows": funnel.rows,
            **{name: value for name, value in funnel.figures.items() if isinstance(value, int | float)},
        }
        for funnel in funnels
    }


def cost(found: Evidence) -> dict[str, dict[str, object]]:
    """Return the machine that trained and each step's cost; a step that ran on another machine keeps its own machine."""
    steps = {
        step: cost.model_dump(exclude_unset=True, exclude={"machine"} if cost.machine == found.machine else None)
        for step, cost in found.costs.items()
    }
    engine = {"engine": found.engine.model_dump(exclude={"model"})} if found.engine else {}
    return {"machine": found.machine.model_dump(), **engine, **steps}


class Serving(Figures):
    """What one answer needs and a million cost; nobody knows the time of an API."""

    seconds: float | None = None
    prompt_tokens: float
    new_tokens: float
    hours_per_million: float | None = None
    usd_per_million: float


def serving(costs: Mapping[str, Cost], before: str, after: str, others: Sequence[str], prices: Report) -> dict[str, Serving]:
    """Return the cost of each system on this machine, and of an API.

    Seconds are those of the predict stage, with loading and the scoring of references and choices. The API is assumed to read
    the prompt of `before` with its examples and to write answers as long as those of `after`. This model's tokenizer counts
    both.
    """
    found = {}
    for system in (before, after, *others):
        entry = costs[f"predict_{system}"]
        assert isinstance(entry, PredictionCost)
        seconds, read, written = (round(n / entry.rows, 4) for n in (entry.seconds, entry.prompt_tokens, entry.new_tokens))
        hours = seconds * 1e6 / 3600
        found[system] = Serving(
            seconds=seconds,
            prompt_tokens=read,
            new_tokens=written,
            hours_per_million=round(hours, 1),
            usd_per_million=round(hours * prices.usd_per_hour, 2),
        )
    read, written = found[before].prompt_tokens, found[after].new_tokens
    usd = read * prices.api.usd_per_million_input + written * prices.api.usd_per_million_output
    return found | {"api": Serving(prompt_tokens=read, new_tokens=written, usd_per_million=round(usd, 2))}

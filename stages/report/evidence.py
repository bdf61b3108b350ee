"""Everything the report is made from, as one object, and the plain rows that plots and cost.json are made of."""

from dataclasses import dataclass
from typing import Any

from stages.records import Example, Prediction

Json = dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What the stages before left behind.

    `predictions` is keyed by system and example id, `hashes` by system (md5, as in dvc.lock), `training` and `agreement` by
    seed, `costs` by name of the step, e.g. train_42. `funnels` is empty where nothing was synthesised.
    """

    examples: list[Example]
    predictions: dict[str, dict[str, Prediction]]
    hashes: dict[str, str]
    audit: Json
    funnels: list[Json]
    training: dict[int, Json]
    agreement: dict[int, Json]
    costs: dict[str, Json]
    model: Json


def loss_rows(training: dict[int, Json]) -> list[Json]:
    """One row a step at which a loss was logged; only with several seeds a row names its seed."""
    rows = []
    for seed, run in training.items():
        train = {entry["step"]: entry["loss"] for entry in run["log"]}
        valid = {entry["step"]: entry["loss"] for entry in run["validation"]}
        for step in sorted({*train, *valid}):
            row = {"step": step, "train": train.get(step), "valid": valid.get(step)}
            rows.append(row if len(training) == 1 else {"seed": seed, **row})
    return rows


def funnel_rows(funnels: list[Json]) -> list[Json]:
    return [{"method": funnel["method"], **stage} for funnel in funnels for stage in funnel["stages"]]


def cost(costs: dict[str, Json]) -> Json:
    """The steps' costs beside the machine that trained; a step that ran on another machine keeps its own."""
    machine = next(entry["machine"] for step, entry in costs.items() if step.startswith("train_"))
    steps = {
        step: {key: value for key, value in entry.items() if key != "machine" or value != machine}
        for step, entry in costs.items()
    }
    return {"machine": machine, **steps}

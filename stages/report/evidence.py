"""Everything the report is made from, as one object, and the rows of the plots and of cost.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stages.records import Example, Prediction

Json = dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What the earlier stages wrote.

    `predictions` is keyed by system and example id, `hashes` and `totals` by system, `data` by split. Hashes are md5, as in
    dvc.lock. `plots` holds the plots that evaluate makes, by name. `retention` is keyed by base or tuned_<seed>, `training` and
    `agreement` by seed, `costs` by step, e.g. train_42. `funnels` is empty where nothing was synthesised. `judged` is None
    where nobody judged synthetic rows.
    """

    examples: list[Example]
    predictions: dict[str, dict[str, Prediction]]
    hashes: dict[str, str]
    data: dict[str, str]
    commit: str
    totals: dict[str, Json]
    plots: dict[str, list[Json]]
    retention: dict[str, Json]
    audit: Json
    funnels: list[Json]
    judged: Json | None
    training: dict[int, Json]
    agreement: dict[int, Json]
    costs: dict[str, Json]
    model: Json


def loss_rows(training: dict[int, Json]) -> list[Json]:
    """Return one row per step with a logged loss; a row names its seed only if there are several."""
    rows = []
    for seed, run in training.items():
        train = {entry["step"]: entry["loss"] for entry in run["log"]}
        valid = {entry["step"]: entry["loss"] for entry in run["validation"]}
        for step in sorted({*train, *valid}):
            row = {"step": step, "train": train.get(step), "valid": valid.get(step)}
            rows.append(row if len(training) == 1 else {"seed": seed, **row})
    return rows


def funnel_rows(funnels: list[Json]) -> list[Json]:
    """Return one row per method and filter."""
    return [{"method": funnel["method"], **stage} for funnel in funnels for stage in funnel["stages"]]


def synthesis(funnels: list[Json]) -> Json:
    """Return by method: the candidates left after each filter, the training rows, and the figures that are single numbers."""
    return {
        funnel["method"]: {
            **{stage["stage"]: stage["count"] for stage in funnel["stages"]},
            "rows": funnel["rows"],
            **{name: value for name, value in funnel["figures"].items() if isinstance(value, int | float)},
        }
        for funnel in funnels
    }


def cost(costs: dict[str, Json]) -> Json:
    """Return the machine that trained and each step's cost; a step that ran on another machine keeps its own machine."""
    machine = next(entry["machine"] for step, entry in costs.items() if step.startswith("train_"))
    steps = {
        step: {key: value for key, value in entry.items() if key != "machine" or value != machine}
        for step, entry in costs.items()
    }
    return {"machine": machine, **steps}


def serving(costs: dict[str, Json], before: str, after: str, others: Sequence[str], prices: Any) -> Json:
    """Return what one answer and a million answers cost: of each system on this machine, and of an API.

    Seconds are those of the predict stage, with loading and the scoring of references and choices. The API is assumed to read
    the prompt of `before` with its examples and to write answers as long as those of `after`. This model's tokenizer counts
    both. `prices` is the section report.
    """
    found: Json = {}
    for system in (before, after, *others):
        entry = costs[f"predict_{system}"]
        each = {key: round(entry[key] / entry["rows"], 4) for key in ("seconds", "prompt_tokens", "new_tokens")}
        hours = each["seconds"] * 1e6 / 3600
        usd = hours * prices.usd_per_hour
        found[system] = {**each, "hours_per_million": round(hours, 1), "usd_per_million": round(usd, 2)}
    read, written = found[before]["prompt_tokens"], found[after]["new_tokens"]
    usd = read * prices.api.usd_per_million_input + written * prices.api.usd_per_million_output
    found["api"] = {"prompt_tokens": read, "new_tokens": written, "usd_per_million": round(usd, 2)}
    return found

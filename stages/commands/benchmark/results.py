"""`tunetrail benchmark import`: what lm-evaluation-harness and HELM wrote as JSON, read into one table."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages import files
from stages.errors import DataError

# What HELM counts beside the quality of the answers: requests, tokens, seconds, how generation ended.
HELM_COUNTS = re.compile(
    r"(num|max_num|estimated|finish_reason|training|inference|logprob)_|batch_size|max_prob|predicted_index|prompt_trunc|logprob"
)


@dataclass(frozen=True)
class Result:
    """One number; `stderr` and `n` are None where the harness gave none."""

    harness: str
    model: str
    task: str
    metric: str
    value: float
    stderr: float | None
    n: int | None


def table(paths: Sequence[Path], output: Path | None) -> None:
    """Print the numbers of all files as a Markdown table, and store them as JSON."""
    found = [result for path in paths for result in read(path)]
    if output:
        files.write_json(output, [asdict(result) for result in found])
    print("| task | metric | model | value | standard error | n | harness |\n|---|---|---|---:|---:|---:|---|")
    for row in sorted(found, key=lambda row: (row.task, row.metric, row.model)):
        error, n = "–" if row.stderr is None else f"{row.stderr:.4g}", "–" if row.n is None else f"{row.n:,}"
        print(f"| {row.task} | {row.metric} | {row.model} | {row.value:.4f} | {error} | {n} | {row.harness} |")


def read(path: Path) -> list[Result]:
    """A results file of lm-eval, or a run of HELM (stats.json beside its run_spec.json); DataError for anything else."""
    content = files.read_json(path)
    if isinstance(content, dict) and isinstance(content.get("results"), dict):
        with _shape(path, "results of lm-eval"):
            return list(_lm_eval(content, path.stem))
    if path.name == "stats.json" and isinstance(content, list):
        model, task = _helm_run(path.with_name("run_spec.json"))
        with _shape(path, "a HELM run's stats.json"):
            return list(_helm(content, model, task))
    raise DataError(f"{path}: neither results of lm-eval (an object with results) nor a HELM run's stats.json")


@contextmanager
def _shape(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError):
        raise DataError(f"{path}: not in the shape of {what}") from None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lm_eval(content: dict[str, Any], stem: str) -> Iterator[Result]:
    """results[task] holds "<metric>,<filter>" and "<metric>_stderr,<filter>"; the filter is named where it is not `none`."""
    model = content.get("model_name") or stem
    for task, numbers in content["results"].items():
        n = content.get("n-samples", {}).get(task, {}).get("effective")
        for key, value in numbers.items():
            metric, _, how = key.partition(",")
            if not how or metric.endswith("_stderr") or not _number(value):
                continue
            error = numbers.get(f"{metric}_stderr,{how}")
            name = metric if how == "none" else f"{metric} ({how})"
            yield Result("lm-eval", model, task, name, value, error if isinstance(error, float) else None, n)


def _helm_run(path: Path) -> tuple[str, str]:
    """Model and scenario, the scenario without the model's name."""
    with _shape(path, "a HELM run's run_spec.json"):
        spec = files.read_json(path)
        return spec["adapter_spec"]["model"], re.sub(r",?model(_deployment)?=[^,]*", "", spec["name"]).rstrip(":")


def _helm(stats: list[dict[str, Any]], model: str, task: str) -> Iterator[Result]:
    """The mean over the test instances of each metric, plain and under each perturbation (robustness, fairness)."""
    for stat in stats:
        name = stat["name"]
        if (
            stat.get("count")
            and _number(stat.get("mean"))
            and name.get("split") == "test"
            and not HELM_COUNTS.match(name["name"])
        ):
            changed = name.get("perturbation")
            metric = f"{name['name']} ({changed['name']}, {changed['computed_on']})" if changed else name["name"]
            yield Result("helm", model, task, metric, stat["mean"], None, None)

"""`tunetrail benchmark import`: JSON results of lm-evaluation-harness and HELM in one table, kept for the report."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stages import files, locks, params
from stages.commands import outputs
from stages.errors import DataError
from stages.figures import assessments
from stages.figures.assessments import Benchmarks, Md5, Result
from stages.models.manifest import MANIFEST
from stages.pages import markdown

# The statistics of HELM that do not measure quality: requests, tokens, seconds, how generation ended.
HELM_COUNTS = re.compile(
    r"(num|max_num|estimated|finish_reason|training|inference|logprob)_|batch_size|max_prob|predicted_index|prompt_trunc|logprob"
)

INPUTS = TypeAdapter(dict[str, Md5])


def table(paths: Sequence[Path]) -> None:
    """Keep the results in all files for the report, in place of an earlier import, and print them as a Markdown table."""
    results, inputs, unrecorded = list[Result](), dict[str, str](), list[str]()
    for path in paths:
        of_file, measured = read(path), inputs_of(path)
        if others := [file for file, md5 in measured.items() if inputs.get(file, md5) != md5]:
            why = f"another {others[0]} was measured than for the files before it"
            raise DataError(f"{path}: {why}; run `tunetrail benchmark run` again for all systems")
        results, inputs = results + of_file, inputs | measured
        unrecorded += [result.model for result in of_file if not measured]
    read_files = {f"results {number}": files.file_hash(path, "md5") for number, path in enumerate(paths, start=1)}
    found = Benchmarks(inputs=inputs | read_files, results=results, unrecorded=list(dict.fromkeys(unrecorded)))
    kept = assessments.path_of(params.read("name").name, "benchmarks")
    with locks.exclusive(kept):
        outputs.keep(kept, found)
    print("| task | metric | model | value | standard error | n | harness |\n|---|---|---|---:|---:|---:|---|")
    for row in sorted(results, key=lambda row: (row.task, row.metric, row.model)):
        error, n = "–" if row.stderr is None else f"{row.stderr:.4g}", "–" if row.n is None else f"{row.n:,}"
        task, metric, model = map(markdown, (row.task, row.metric, row.model))
        print(f"| {task} | {metric} | {model} | {row.value:.4f} | {error} | {n} | {row.harness} |")


def read(path: Path) -> list[Result]:
    """Read results of lm-eval, or stats.json of a HELM run next to its run_spec.json; raise DataError for any other file."""
    content = files.read_json(path)
    if isinstance(content, dict) and isinstance(content.get("results"), dict):
        with _shape(path, "results of lm-eval"):
            return list(_lm_eval(content, path.stem))
    if path.name == "stats.json" and isinstance(content, list):
        model, task = _helm_run(path.with_name("run_spec.json"))
        with _shape(path, "stats.json of a HELM run"):
            return list(_helm(content, model, task))
    raise DataError(f"{path}: neither results of lm-eval (an object with the key results) nor stats.json of a HELM run")


def inputs_of(path: Path) -> dict[str, str]:
    """Return the hashes of what `tunetrail benchmark run` measured; a file that another program wrote has none."""
    content = files.read_json(path)
    if not isinstance(content, dict) or "inputs" not in content:
        return {}
    try:
        found = INPUTS.validate_python(content["inputs"])
    except ValidationError:
        found = {}
    if str(MANIFEST) not in found:
        raise DataError(f"{path}: inputs: no hash of {MANIFEST}; run `tunetrail benchmark run` again, or remove this key")
    return found


@contextmanager
def _shape(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise DataError(f"{path}: {first['loc'][0]} of a result: {first['msg']}; correct the file") from None
    except (AttributeError, KeyError, TypeError):
        raise DataError(f"{path}: does not have the structure of {what}") from None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lm_eval(content: dict[str, Any], stem: str) -> Iterator[Result]:
    """Read "<metric>,<filter>" and "<metric>_stderr,<filter>" of results[task]; the name states a filter other than `none`."""
    model = content.get("model_name") or stem
    for task, numbers in content["results"].items():
        n = content.get("n-samples", {}).get(task, {}).get("effective")
        for key, value in numbers.items():
            metric, _, how = key.partition(",")
            if not how or metric.endswith("_stderr") or not _number(value):
                continue
            error = numbers.get(f"{metric}_stderr,{how}")
            name = metric if how == "none" else f"{metric} ({how})"
            stderr = error if isinstance(error, float) and isfinite(error) else None
            yield Result(harness="lm-eval", model=model, task=task, metric=name, value=value, stderr=stderr, n=n)


def _helm_run(path: Path) -> tuple[str, str]:
    """Return model and scenario; the scenario without the model's name."""
    with _shape(path, "run_spec.json of a HELM run"):
        spec = files.read_json(path)
        return spec["adapter_spec"]["model"], re.sub(r",?model(_deployment)?=[^,]*", "", spec["name"]).rstrip(":")


def _helm(stats: list[dict[str, Any]], model: str, task: str) -> Iterator[Result]:
    """Yield each metric's mean over the test instances, without and with each perturbation (robustness, fairness)."""
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
            yield Result(harness="helm", model=model, task=task, metric=metric, value=stat["mean"], stderr=None, n=None)

"""The two sides of a comparison, each read from git alone: parameters, dvc.lock, metrics, cost, scores of single items.

A revision is read with `git show`, the working tree from its files; DVC's cache is not needed. Inconsistent sides are refused
here: a report older than its predictions, or parameters that were never run.
"""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import JsonValue, ValidationError

from stages import locks, params
from stages.commands.compare.shapes import Cost, File, Item, Lock, Parameters, Pipeline, Results, S, Stage, checked, mistake
from stages.errors import DataError
from stages.report.item_scores import Table
from stages.report.results import merged
from stages.report.retention import General
from stages.systems import ALIGNED, TUNED, is_aligned, is_tuned

WORKING_TREE = "working tree"
RETENTION = "retention.jsonl"
MOST_LOCKED = 1_000_000  # bytes of a lock file, which has some 100,000 and grows with each seed; they take some 10 seconds
SHOWN_ONLY = ("validate", "report")  # stages that only check or show: their inputs decide no answer and no score


@dataclass(frozen=True)
class Side:
    """What git holds of one run.

    `commit` is a full hash, that of HEAD for the working tree; `params` are flattened to dotted keys; `lock` holds the
    run's stages of dvc.lock, `results` the numbers of metrics.json and details.json, `items` the rows by id and in its order.
    `general` are the texts, questions and requests of retention.jsonl, None where an older report lacks it.
    """

    name: str
    commit: str
    params: dict[str, JsonValue]
    lock: dict[str, Stage]
    results: Results
    cost: Cost
    items: dict[str, Item]
    general: list[General] | None

    @property
    def step(self) -> str:
        """Return "aligned" if the run aligned its models, else "tuned"."""
        return ALIGNED if is_aligned(self.tuned[0]) else TUNED

    @property
    def tuned(self) -> list[str]:
        """Return the systems of the last step, one per seed: the aligned ones, or the tuned ones if none were aligned."""
        systems = list(next(iter(self.items.values())).scores)
        return [*filter(is_aligned, systems)] or [*filter(is_tuned, systems)]

    @cached_property
    def table(self) -> Table:
        """The scores as the report tabulates them; the metrics are those of the first tuned system."""
        items = list(self.items.values())
        metrics = tuple(dict.fromkeys(metric for item in items for metric in item.scores[self.tuned[0]]))
        values = {
            system: np.array([[item.scores[system].get(metric, np.nan) for metric in metrics] for item in items])
            for system in items[0].scores
        }
        return Table(
            ids=tuple(self.items),
            sources=np.array([item.source for item in items]),
            slices=tuple(tuple(item.slices) for item in items),
            metrics=metrics,
            bases=tuple(system for system in values if system.startswith("base_")),
            seeds={},
            values=values | {TUNED: np.mean([values[system] for system in self.tuned], axis=0)},
        )

    def outputs(self) -> dict[str, File]:
        """Return every output in dvc.lock by its path."""
        return {out.path: out for stage in self.lock.values() for out in stage.outs}


def read(revision: str | None) -> Side:
    """Return the run of a revision, or of the working tree for None; raise DataError where it is absent or inconsistent."""
    if revision == "":
        raise DataError("an empty revision; name one, e.g. main")
    if revision is None:
        locks.refuse_experiment()
    commit = _resolved("HEAD" if revision is None else revision)
    name = WORKING_TREE if revision is None else revision

    read: dict[str, bytes] = {}

    def content(path: str) -> bytes:
        read[path] = _file(Path(path), name) if revision is None else _show(commit, path, name)
        return read[path]

    def yaml(shape: type[S], path: str) -> S:
        return checked(shape, params.parse(content(path), f"{name}: {path}", MOST_LOCKED), f"{name}: {path}")

    values, lock, pipeline = yaml(Parameters, "params.yaml"), yaml(Lock, "dvc.lock"), yaml(Pipeline, "dvc.yaml")
    flat = dict(params.flatten(values.model_dump(exclude_unset=True)))
    folder = f"reports/{values.name}"
    items = content(f"{folder}/items.jsonl")
    general = None
    with suppress(DataError):
        general = content(f"{folder}/{RETENTION}")
    side = Side(
        name=name,
        commit=commit,
        params=flat,
        lock={stage: entry for stage, entry in lock.stages.items() if _of_this_run(stage, pipeline, flat)},
        results=_results(content, folder, name),
        cost=checked(Cost, content(f"{folder}/cost.json"), f"{name}: {folder}/cost.json"),
        items={item.id: item for item in sorted(_items(items, f"{name}: {folder}/items.jsonl"), key=lambda item: item.id)},
        general=None if general is None else list(_lines(General, general, f"{name}: {folder}/{RETENTION}")),
    )
    _check_consistency(side, folder, read)
    return side


def git(*arguments: str) -> bytes:
    """Return what git prints; raise DataError with git's first line where it fails."""
    try:
        run = subprocess.run(["git", *arguments], capture_output=True)
    except FileNotFoundError:
        raise DataError("git: not found; install it") from None
    if run.returncode:
        errors = run.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(errors[0] if errors else f"git {arguments[0]}: failed")
    return run.stdout


def locked_params(side: Side, shown: bool = False) -> dict[str, JsonValue]:
    """Return the parameters of the run from dvc.lock: of the stages that decide it, or only of the report stage."""
    stages = [stage for name, stage in side.lock.items() if (name == "report" if shown else name not in SHOWN_ONLY)]
    return dict(params.flatten({key: value for stage in stages for key, value in stage.params.get("params.yaml", {}).items()}))


def _of_this_run(stage: str, pipeline: Pipeline, values: Mapping[str, JsonValue]) -> bool:
    """Return whether the parameters ask for this stage.

    dvc.lock keeps matrix stages of earlier runs, such as train@43 where `seeds` is now [42]. Each matrix of this pipeline has
    one axis, a list among the parameters: `seed: ${seeds}`.
    """
    name, _, item = stage.partition("@")
    matrix = pipeline.stages[name].matrix if name in pipeline.stages else {}
    axes = [values.get(str(reference)[2:-1]) for reference in matrix.values()]
    return all(item in map(str, axis) for axis in axes if isinstance(axis, list))


def _resolved(revision: str) -> str:
    """Return the full hash of a git revision, or else of the experiment that `dvc exp run` gave this name."""
    git("rev-parse", "--git-dir")  # reports a missing repository
    try:
        return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").decode().split()[-1]
    except DataError:
        experiments = _experiments()
        found = [commit for name, commit in experiments if name == revision]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"{revision}: {len(found)} experiments have this name; name a commit: {', '.join(found)}") from None
        if git("rev-parse", "--is-shallow-repository").strip() == b"true":
            raise DataError(
                f"{revision}: not in this shallow clone; run `git fetch --unshallow` (in a workflow: fetch-depth: 0)"
            ) from None
        branches = git("for-each-ref", "--format=%(refname:short)", "refs/heads", f"refs/remotes/*/{revision}").decode().split()
        known = [*(name for name, _ in experiments), *branches]
        raise DataError(f"{revision}: unknown revision; known are {', '.join(known[-5:]) or 'none yet'}") from None


def _experiments() -> list[tuple[str, str]]:
    """Return name and commit of DVC's experiments, kept as refs/exps/<2 digits>/<38 digits of the parent commit>/<name>."""
    listed = git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps/*/*/*").decode().splitlines()
    return [(ref.rsplit("/", 1)[-1], commit) for commit, ref in map(str.split, listed)]


def _show(commit: str, path: str, name: str) -> bytes:
    try:
        return git("show", f"{commit}:./{path}")
    except DataError:
        raise _absent(name, path) from None


def _file(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise _absent(name, str(path)) from None


def _absent(name: str, path: str) -> DataError:
    return DataError(f"{name}: {path} is missing; run `dvc repro` and commit what it writes")


def _results(content: Callable[[str], bytes], folder: str, name: str) -> Results:
    """Return the numbers of metrics.json and details.json; reports older than the latter still compare by their scores."""
    metrics, details = f"{folder}/metrics.json", f"{folder}/details.json"
    texts = {metrics: content(metrics), details: b"{}"}
    with suppress(DataError):
        texts[details] = content(details)
    found = [checked(Results, text, f"{name}: {path}") for path, text in texts.items()]
    return Results(**merged(*(numbers.model_dump(exclude_unset=True) for numbers in found)))


def _items(content: bytes, where: str) -> Iterator[Item]:
    """Yield the rows of items.jsonl; raise DataError where a line is not a row or lacks a system of the first."""
    systems: set[str] = set()
    for number, item in enumerate(_lines(Item, content, where), start=1):
        systems = systems or set(item.scores)
        if uneven := sorted(systems ^ set(item.scores)):
            raise DataError(f"{where}:{number}: {uneven[0]} is scored on some rows only; run `dvc repro -f report`")
        yield item
    if not any(map(is_tuned, systems)):
        raise DataError(f"{where}: no scores of a tuned system; run `dvc repro`")


def _lines(shape: type[S], content: bytes, where: str) -> Iterator[S]:
    """Yield the lines of a file; raise DataError where one is not of this shape."""
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            yield shape.model_validate_json(line)
        except ValidationError as error:
            raise DataError(f"{where}:{number}: {mistake(error)}") from None


def _check_consistency(side: Side, folder: str, read: dict[str, bytes]) -> None:
    """Raise DataError unless the report, its predictions and its parameters are those of dvc.lock.

    `read` holds the files that were read, by path. An old lock file may not list all files of the report, but always those
    with scores of items.
    """
    outputs, items = side.outputs(), f"{folder}/items.jsonl"
    for path in [path for path in read if path in (items, f"{folder}/{RETENTION}") or path in outputs]:
        if path not in outputs or outputs[path].md5 != hashlib.md5(read[path], usedforsecurity=False).hexdigest():
            raise DataError(f"{side.name}: {path} differs from the one in dvc.lock; run `dvc repro` and commit both")
    for system, md5 in side.cost.predictions_md5.items():
        predictions = f"data/predictions/{system}.jsonl"
        if predictions not in outputs or outputs[predictions].md5 != md5:
            raise DataError(
                f"{side.name}: {items} was not made from the {predictions} in dvc.lock; run `dvc repro` and commit both"
            )
    if lacking := [system for item in side.general or () for system in side.tuned if system not in item.scores]:
        raise DataError(f"{side.name}: {folder}/{RETENTION} lacks scores of {lacking[0]}; run `dvc repro -f report`")
    for key, value in (locked_params(side) | locked_params(side, shown=True)).items():
        if key in side.params and side.params[key] != value:
            raise DataError(
                f"{side.name}: params.yaml has {key} = {json.dumps(side.params[key])}, the run was made with "
                f"{json.dumps(value)}; run `dvc repro` and commit what it writes"
            )

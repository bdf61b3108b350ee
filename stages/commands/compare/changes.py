"""What differs between two runs, and whether the difference in scores can be attributed to one thing.

A *variable* is anything that no stage made: a parameter, a source of data, a prompt, the code, a library, the machine. What
stages make of them (rows, weights, predictions) follows from the variables and cannot be a cause itself.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from stages import params
from stages.commands.compare.shapes import File, Stage
from stages.commands.compare.sides import SHOWN_ONLY, Side, locked_params

ABSENT = "absent"
DEVICE = {"device", "device_name"}
FOLLOWS = ("data/cost", "reports")  # outputs that differ between two equal runs: they contain seconds


@dataclass(frozen=True)
class Variable:
    """One thing that differs; `kind` is parameter, data, prompt, code, library, machine or unexplained."""

    kind: str
    name: str
    before: str
    after: str


def variables(base: Side, head: Side, files: dict[str, str]) -> list[Variable]:
    """Return everything that may have caused a difference; `files` are the paths changed in git, each with its line counts.

    A key that only one side has comes with another change (an option that was chosen, code that was written). It does not count
    as a variable unless nothing else explains its stage. All code together counts as one variable.
    """
    before, after = locked_params(base), locked_params(head)
    found = [
        Variable("parameter", key, shown(before[key]), shown(after[key]))
        for key in sorted(before.keys() & after.keys())
        if before[key] != after[key]
    ]
    code = []
    for path, old, new in _sources(base, head):
        inside = [file for file in files if file == path or file.startswith(f"{path}/")] or [path]
        if path.startswith("stages/"):
            found += [Variable("prompt", file, "", files.get(file, "")) for file in inside if file.endswith(".jinja")]
            code += [file for file in inside if not file.endswith(".jinja")]
        else:
            lines = "; ".join(f"{file} {files[file]}" for file in inside if file in files)
            found.append(Variable("data", path, "" if lines else old, lines or new))
    for name in sorted(base.lock.keys() & head.lock.keys() - set(SHOWN_ONLY)):
        if base.lock[name].cmd != head.lock[name].cmd:
            code.append(f"dvc.yaml: cmd of {name}")
    alone = list(_alone(base, head))
    code += [change.name for change in alone if change.kind == "code"]
    found += [change for change in alone if change.kind != "code"]
    if code:
        found.append(Variable("code", ", ".join(sorted(set(code))), "", ""))
    found += _machine(base, head)
    return list(dict.fromkeys([*found, *_unexplained(base, head)]))


def minor(base: Side, head: Side) -> list[Variable]:
    """Return parameters that differ but decide no score: those of report and machine, and keys that only one side has."""
    decisive = locked_params(base).keys() & locked_params(head).keys() | {change.name for change in _alone(base, head)}
    return [
        Variable("parameter", key, shown(base.params.get(key, ABSENT)), shown(head.params.get(key, ABSENT)))
        for key in sorted(base.params.keys() | head.params.keys())
        if key not in decisive and base.params.get(key, ABSENT) != head.params.get(key, ABSENT)
    ]


def run_again(base: Side, head: Side) -> dict[str, list[str]]:
    """Return the stages of dvc.lock by what happened to them: run again, new, gone, not run."""
    fates: dict[str, list[str]] = {"run again": [], "new": [], "gone": [], "not run": []}
    for name in dict.fromkeys([*head.lock, *base.lock]):
        fate = "new" if name not in base.lock else "gone" if name not in head.lock else "run again"
        fates["not run" if base.lock.get(name) == head.lock.get(name) else fate].append(name)
    return fates


def shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _sources(base: Side, head: Side) -> Iterable[tuple[str, str, str]]:
    """Yield changed dependencies that no stage makes, as (path, size before, size after)."""
    before, after = _dependencies(base), _dependencies(head)
    made = [PurePosixPath(path) for path in base.outputs() | head.outputs()]
    for name in sorted(before.keys() & after.keys()):
        path = PurePosixPath(name)
        if before[name].md5 != after[name].md5 and not any(
            path == out or path in out.parents or out in path.parents for out in made
        ):
            yield name, f"{before[name].size:,} bytes", f"{after[name].size:,} bytes"


def _alone(base: Side, head: Side) -> Iterable[Variable]:
    """Yield parameters and dependencies that only one side has, of stages whose changed outputs nothing else explains."""
    new = base.outputs().keys() ^ head.outputs().keys()
    for name in sorted(base.lock.keys() & head.lock.keys() - set(SHOWN_ONLY)):
        before, after = base.lock[name], head.lock[name]
        old, values = (dict(params.flatten(stage.params.get("params.yaml", {}))) for stage in (before, after))
        old_deps, deps = ({dep.path: dep for dep in stage.deps} for stage in (before, after))
        touched = before.cmd != after.cmd or any(old[key] != values[key] for key in old.keys() & values.keys())
        touched = touched or any(path in old_deps.keys() & deps.keys() for path, _, _ in _sources(base, head))
        if touched or not _other_outputs(before, after):
            continue
        for key in sorted(old.keys() ^ values.keys()):
            yield Variable("parameter", key, shown(old.get(key, ABSENT)), shown(values.get(key, ABSENT)))
        for path in sorted((old_deps.keys() ^ deps.keys()) - new):
            sizes = [f"{side[path].size:,} bytes" if path in side else ABSENT for side in (old_deps, deps)]
            yield Variable("code" if path.startswith("stages/") else "data", path, *sizes)


def _other_outputs(before: Stage, after: Stage) -> Iterable[str]:
    for out in after.outs:
        if out not in before.outs and not out.path.startswith(FOLLOWS):
            yield out.path


def _dependencies(side: Side) -> dict[str, File]:
    return {dep.path: dep for name, stage in side.lock.items() if name not in SHOWN_ONLY for dep in stage.deps}


def _machine(base: Side, head: Side) -> Iterable[Variable]:
    """Yield changed versions of libraries and a changed device: devices round differently, so greedy texts differ."""
    before, after = base.cost.machine, head.cost.machine
    yield from _differing("library", before.versions, after.versions)
    yield from _differing("library", *({side.cost.engine.server: side.cost.engine.version} for side in (base, head)))
    yield from _differing("machine", *(machine.model_dump(include=DEVICE, exclude_none=True) for machine in (before, after)))


def _differing(kind: str, before: dict[str, str], after: dict[str, str]) -> Iterable[Variable]:
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            yield Variable(kind, name, before[name], after[name])


def _unexplained(base: Side, head: Side) -> list[Variable]:
    """Return outputs that differ from equal inputs: a branch of a hub moved, or the machine rounds differently."""
    return [
        Variable("unexplained", f"{path} (of {name}, from equal inputs)", "", "")
        for name, stage in head.lock.items()
        if name in base.lock and base.lock[name].model_copy(update={"outs": stage.outs}) == stage
        for path in _other_outputs(base.lock[name], stage)
    ]

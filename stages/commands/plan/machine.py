"""Memory and time of training, pairs, alignment and predictions on this machine, from a probe of each."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from stages import device
from stages.errors import DataError
from stages.models.manifest import read_manifest
from stages.models.precision import DTYPES
from stages.params import Alignment, Optimization, Params, divisor
from stages.systems import ALIGNED, ANSWERING, TUNED

ROWS = Path("data/formatted/train.jsonl")
LABELS = (
    "runs",
    "rows at a time",
    "parameters, millions",
    "of these trained",
    "libraries, GiB",
    "frozen weights, GiB",
    "trained weights, gradients, optimizer, GiB",
    "activations and buffers, GiB",
    "peak memory, GiB",
    "free now, GiB",
    "steps, or tokens of the batches",
    "seconds for each",
    "time of a run, about",
)


SMALLER = "a smaller model, or a smaller format.max_length"
TOO_LARGE = 137  # the exit code of a process that the kernel kills because memory runs out


@dataclass(frozen=True)
class Probe:
    """Counts, and bytes at the peak: of frozen weights, of what is trained with gradients and optimizer, and of the rest.

    `libraries` is what the process holds before it opens a model. `rows` share what is left of `peak`, the activations.
    `looks` is what opening, looks and samples take in place of activations, with any number of rows; 0 if `peak` has them.
    `seconds` are those expected of the whole run, `units` the steps or tokens that take `unit_seconds` each.
    """

    parameters: int
    trained: int
    libraries: int
    weights: int
    training: int
    peak: int
    rows: int
    seconds: float
    units: int
    unit_seconds: float
    looks: int = 0

    @property
    def fixed(self) -> int:
        """Return the bytes that do not grow with the rows and are held all the time."""
        return self.libraries + self.weights + self.training

    @property
    def most(self) -> int:
        """Return the bytes of the run at its peak."""
        return max(self.peak, self.fixed + self.looks)


@dataclass(frozen=True)
class Need:
    """What one stage needs: a probe, the number of its runs, the bytes that are free, and advice if they do not suffice."""

    what: str
    runs: int
    free: int
    probe: Probe
    advice: str = ""

    @property
    def seconds(self) -> float:
        return self.probe.seconds

    def figures(self) -> list[str]:
        probe = self.probe
        sizes = (probe.libraries, probe.weights, probe.training, probe.most - probe.fixed, probe.most, self.free)
        return [
            str(self.runs),
            str(probe.rows),
            f"{probe.parameters / 1e6:.1f}",
            f"{probe.trained / 1e6:.2f}",
            *(f"{size / 2**30:.2f}" for size in sizes),
            str(probe.units),
            f"{probe.unit_seconds:.3g}",
            duration(probe.seconds),
        ]


def plan(p: Params, console: Console) -> list[Need]:
    """Return the needs of trainings, pairs, align and every system; raise DataError where a probe fails or nothing fits."""
    kind = device.kind(p.runtime)
    free, size = device.free_memory(kind), itemsize(kind) * read_manifest().parameters
    if size > free:
        raise DataError(
            f"the weights take {size / 2**30:.1f} GiB, and {free / 2**30:.1f} are free; choose a smaller model or machine"
        )
    needs = []
    for what, runs in _jobs(p).items():
        with console.status(f"{what}: a short trial run measures memory and time"):
            needs.append(_need(p, what, runs, free))
    return needs


def itemsize(kind: str) -> int:
    """Return the bytes of a weight of a model that answers."""
    return DTYPES[device.computed(kind, "bf16")].itemsize


def _jobs(p: Params) -> dict[str, int]:
    """Return what is tried, in the order of the stages, with the number of its runs."""
    wanted = {
        **{fit.section: True for fit in p.fits},
        "pairs": p.preference.wanted,
        "align": p.align.method != "none" and not scores_by_model(p),
        **{f"base_{shots}shot": True for shots in p.predict.shots},
        TUNED: True,
        ALIGNED: p.align.method in ANSWERING,
    }
    return {what: 1 if what.startswith("base") else len(p.seeds) for what, asked in wanted.items() if asked}


def scores_by_model(p: Params) -> bool:
    """Return whether a reward model, which no trial opens, scores the answers of grpo."""
    return p.align.method == "grpo" and p.align.rewards.reward_model > 0


def _need(p: Params, what: str, runs: int, free: int) -> Need:
    """Probe with as many rows as the run has; if they do not fit, with the fewest, and multiply what the rows need."""
    rows, least = at_a_time(p, what), _least(p, what)
    probe = _probe(what, rows)
    if probe is None:
        few = _probe(what, least)
        if few is None:
            raise DataError(_advice(p, what, f"does not fit, not even with {_counted(least)} at a time", 0))
        tried = rows if isinstance(rows, int) else (_fit(p, what) or p.train).batch_size
        probe = replace(few, rows=tried, peak=few.fixed + (few.peak - few.fixed) * tried // least)
    return Need(what, runs, free, probe, fitting(p, what, probe, free))


def _fit(p: Params, what: str) -> Optimization | None:
    """Return the options of a training; None for samples and predictions."""
    trainings: list[Optimization] = [*p.fits, *([p.align] if isinstance(p.align, Alignment) else [])]
    return next((fit for fit in trainings if fit.section == what), None)


def at_a_time(p: Params, what: str) -> int | Literal["auto"]:
    """Return the rows at a time that the run asks for."""
    if _fit(p, what):
        return p.runtime.micro_batch_size
    return p.preference.batch_size if what == "pairs" else p.predict.batch_size


def _least(p: Params, what: str) -> int:
    """Return the fewest rows at a time: kto estimates its KL from another row's answer."""
    return 2 if what == "align" and p.align.method == "kto" else 1


def _counted(rows: int) -> str:
    return {1: "one row", 2: "two rows"}[rows]


def fitting(p: Params, what: str, probe: Probe, free: int) -> str:
    """Return which option makes the run fit into the free memory; nothing if it fits."""
    if probe.most <= free:
        return ""
    problem = f"needs {probe.most / 2**30:.1f} GiB, and {free / 2**30:.1f} are free"
    if probe.fixed + probe.looks > free:  # with any number of rows
        return f"{what}: {problem}; set {SMALLER}"
    return _advice(p, what, problem, max(0, int((free - probe.fixed) * probe.rows / (probe.peak - probe.fixed))))


def _advice(p: Params, what: str, problem: str, rows: int) -> str:
    """Return the problem with the options that may solve it; `rows` fit at once."""
    fit = _fit(p, what)
    if fit is not None:
        size = divisor(fit.batch_size, rows)
        options = [f"runtime.micro_batch_size={size}"] if size >= _least(p, what) else []
        options += [] if fit.gradient_checkpointing else [f"{what}.gradient_checkpointing=true"]
    elif what == "pairs":
        sampled = {"verifier", "judge"} & set(p.preference.sources)
        options = [f"preference.batch_size={rows}"] if rows and sampled else []
    else:
        size = rows if device.kind(p.runtime) == "cpu" else min(rows, 1)  # a GPU takes as many as fit, or one
        options = [f"predict.batch_size={size}"] if size else []
    return f"{what}: {problem}; set {' or '.join(options) or SMALLER}"


def _probe(what: str, rows: int | Literal["auto"]) -> Probe | None:
    """Return what the probe measured, None if memory did not suffice; raise DataError with its message if it failed."""
    command = [sys.executable, "-m", "stages.commands.plan.probe", what, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode in (TOO_LARGE, -signal.SIGKILL):
        return None
    if done.returncode:
        errors = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.strip()]
        raise DataError(f"{what}: the trial run failed: {errors[-1] if errors else f'exit code {done.returncode}'}")
    return Probe(**json.loads(done.stdout.splitlines()[-1]))


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"

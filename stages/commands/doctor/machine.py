"""What the run in params.yaml needs from this machine: readable files, disk, memory, packages and keys."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from stages import params
from stages.commands.doctor.finding import Finding
from stages.errors import DataError, reason
from stages.files import lines
from stages.models.manifest import Manifest
from stages.models.sources import cache, folder_of
from stages.params import Model, Params

TRACKERS = ("swanlab", "tensorboard")
# Peak memory of the default run in bytes per parameter of its base (5.0 and 8.1 GiB by 134.5 M), most of it activations, by the
# bytes of a weight: 2, and 4 in fp32.
BYTES_PER_PARAMETER = {2: 41, 4: 65}
SIZE = re.compile(r"(?<![a-z\d.])(\d+(?:\.\d+)?)([mb])(?![a-z\d])", re.IGNORECASE)  # in a model's name: 135M, 0.6B
WEIGHTS, OPTIMISER = 2, 16  # bytes of a stored weight; bytes more if all weights are trained (fp32, gradient, Adam)


def parameters(root: Path, manifest: Manifest | None) -> Iterator[Finding]:
    """Yield which of dvc.yaml and params.yaml cannot be read, and what the run in params.yaml lacks."""
    checkout = "`git checkout {0}` restores the committed one"
    try:
        if (root / "dvc.yaml").is_file():
            params.load(root / "dvc.yaml")
            if _is_beginning(root, "dvc.yaml"):
                yield Finding("error", "dvc.yaml", "only the beginning of the committed one", checkout.format("dvc.yaml"))
    except DataError as error:
        yield Finding("error", "dvc.yaml", f"cannot be read ({reason(error)})", checkout.format("dvc.yaml"))
    for name in (".dvc/config", ".dvc/config.local"):
        if problem := _unreadable(root / name):
            remedy = checkout.format(name) if name == ".dvc/config" else "correct or delete it: git does not know it"
            yield Finding("error", name, f"DVC cannot read it ({problem})", remedy)
    try:
        values = params.load(root / params.PARAMS)
    except DataError as error:
        yield Finding("error", "params.yaml", f"cannot be read ({reason(error)})", params.RESTORE)
        return
    try:
        p = params.check(values)
    except DataError as error:
        cut = params.lacks(values)
        remedy = params.RESTORE if cut else "`python -m stages.validate` lists all mistakes"
        yield Finding("error", "params.yaml", cut or reason(error), remedy)
        return
    if size := manifest.parameters if manifest else _size(p.model.name):
        yield from _room(root, p, manifest.model if manifest else p.model, size)
    yield from _optional(p)


def _unreadable(config: Path) -> str:
    """Return why DVC could not read one of its configurations; nothing if it can, or if there is none."""
    from configobj import ConfigObj, ConfigObjError

    try:
        ConfigObj(str(config), encoding="utf-8", file_error=config.exists())
    except (ConfigObjError, OSError, UnicodeDecodeError) as error:
        return reason(error)
    return ""


def _is_beginning(root: Path, name: str) -> bool:
    """Return whether a file was cut: it is the committed one and ends within one of its lines."""
    if not shutil.which("git"):
        return False
    committed = subprocess.run(["git", "show", f"HEAD:./{name}"], cwd=root, capture_output=True).stdout
    content = (root / name).read_bytes()
    return len(content) < len(committed) and committed.startswith(content) and not content.endswith(b"\n")


def _size(name: str) -> int:
    """Return the parameters of a model that is not fetched yet, by its name; 0 where the name does not say."""
    found = SIZE.search(name)
    return int(float(found[1]) * {"m": 1e6, "b": 1e9}[found[2].lower()]) if found else 0


def _room(root: Path, p: Params, model: Model, size: int) -> Iterator[Finding]:
    """Estimate disk and memory for a base of `size` parameters; what is trained counts as 5 % of the weights for an adapter.

    Disk: in the cache, weights not fetched yet, and as much for the file that they are made from; in the clone, two
    checkpoints of what is trained with its optimizer (three times its fp32 size), and per seed the output with DVC's copy.
    Memory: weights, and the rest of BYTES_PER_PARAMETER by rows in a micro-batch. torch, which takes seconds to load, tells
    whether this processor computes in fp32; it is asked only if that matters.
    """
    whole = p.adapter.type in params.WHOLE
    trained = 4 * size * (1 if whole else 0.05)
    needed = {root.resolve(): (2 * 3 + 2 * len(p.seeds)) * trained}
    if not folder_of(model).is_dir():
        there = next(path for path in (cache().absolute(), *cache().absolute().parents) if path.is_dir())
        place = root.resolve() if there.stat().st_dev == root.stat().st_dev else there
        needed[place] = needed.get(place, 0) + 2 * WEIGHTS * size
    for place, disk in needed.items():
        if (free := shutil.disk_usage(place).free) < disk:
            yield Finding("warning", str(place), _short("disk", free, disk), "make room")
    if p.runtime.device != "cuda":
        needs = {width: _memory(p, size, width) for width in BYTES_PER_PARAMETER}
        available = psutil.virtual_memory().available
        memory = needs[4] if available < needs[4] and _in_fp32(p.train.precision) else needs[2]
        if available < memory:
            remedy = "lower runtime.micro_batch_size or set train.gradient_checkpointing=true"
            yield Finding("warning", "memory", _short("memory", available, memory), remedy)


def _memory(p: Params, size: int, width: int) -> float:
    """Return the bytes that a run takes whose weights have `width` bytes."""
    rows = p.runtime.rows(p.train.batch_size // p.runtime.processes)
    activations = (BYTES_PER_PARAMETER[width] - width) * rows / 4
    return p.runtime.processes * size * (width + activations + (p.adapter.type in params.WHOLE) * OPTIMISER)


def _in_fp32(precision: str) -> bool:
    from stages import device

    return device.computed("cpu", precision) == "fp32"


def _short(what: str, free: float, needed: float) -> str:
    return f"{free / 2**30:.1f} GiB of {what} are free, the run in params.yaml needs about {needed / 2**30:.1f} (estimate)"


def _optional(p: Params) -> Iterator[Finding]:
    """Yield what params.yaml needs and this machine lacks, and in one line the missing parts that other commands need."""
    tracker, asked = p.train.report_to, {"teacher": p.teacher, "engine.server": getattr(p.engine, "server", None)}
    keys = {name: key for name, server in asked.items() if (key := getattr(server, "api_key_env", None))}
    for name, key in keys.items():
        if not os.environ.get(key):
            remedy = f"set it, or choose another {name.partition('.')[0]}"
            yield Finding("warning", f"{name}.api_key_env = {key}", "this environment variable is not set", remedy)
    if p.runtime.device == "cuda" and not any(map(shutil.which, ("nvidia-smi", "rocm-smi"))):
        yield Finding("warning", "runtime.device = cuda", "no driver of a GPU found", "install it or set runtime=cpu")
    if tracker in TRACKERS and not _installed(tracker):
        yield Finding("warning", f"train.report_to = {tracker}", "not installed", "pip install -e '.[trackers]'")
    missing = [name for name in ("lm-eval", *TRACKERS) if not _installed(name)]
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        missing.append("chromium (a test of the report)")
    if missing:
        remedy = "nothing to do, unless you use them: pip install -e '.[lm-eval,trackers]'"
        yield Finding("info", "optional parts", f"not installed: {', '.join(missing)}", remedy)


def _installed(package: str) -> str:
    """Return the version of an installed package without its local part (+cpu), or nothing."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return ""


def versions(*paths: Path) -> Iterator[Finding]:
    pins = (line.removesuffix(" \\") for path in paths if path.is_file() for line in lines(path))  # hashes follow a backslash
    pinned = dict(pin.split("==", 1) for pin in pins if "==" in pin)
    there = {name: _installed(name) for name in pinned}
    differing = [
        f"{name} {there[name] or 'missing'} instead of {wanted}"
        for name, wanted in pinned.items()
        if there[name] != wanted.partition("+")[0]
    ]
    if differing:
        problem = f"{len(differing)} of {len(pinned)} packages differ: {', '.join(differing[:3])}"
        yield Finding("warning", str(paths[0]), problem, "rm -rf .venv && make .venv/.ready")

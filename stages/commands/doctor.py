"""`tunetrail doctor`: what a kill, a full disk or a changed machine leaves behind, and with --fix its repair.

`error` stops DVC or a stage until it is fixed, `warning` may slow or stop a run. What a living process holds is not touched.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stages import params
from stages.errors import DataError, reason
from stages.files import file_hash, lines, read_json, read_yaml, write_text
from stages.models.manifest import MANIFEST, Manifest, read_manifest
from stages.models.sources import cache, folder_of
from stages.params import Params

OUTPUTS = ("data", "models", "reports")
PART = re.compile(r"\..+?(?:\.(\d+))?\.part")  # .<name>.<pid>.part, as files.write_text and files.whole_folder name it
OLD = 3600  # seconds after which a half-written file without a process id in its name is nobody's
KEPT_DAYS = 30  # a warning for older checkpoints: few runs are resumed so late
# Peak memory of the default run in bytes per parameter of its base (6.9 GB by 134.5 M), most of it logits and activations.
BYTES_PER_PARAMETER = 51


@dataclass(frozen=True)
class Finding:
    """Something that is wrong at a place; `repair` is what --fix calls, None where only a person can decide."""

    severity: str
    where: str
    problem: str
    remedy: str
    repair: Callable[[], Any] | None = None


def doctor(fix: bool, root: Path = Path()) -> None:
    """Print what is wrong, one finding per line, and repair it with `fix`; DataError while an error remains."""
    findings = list(find(root))
    for finding in findings:
        fixed = fix and finding.repair
        if fixed and finding.repair:
            finding.repair()
        print(f"{'fixed' if fixed else finding.severity}: {finding.where}: {finding.problem}; {finding.remedy}")
    if not findings:
        print("nothing to fix")
    remaining = [finding for finding in findings if finding.severity == "error" and not (fix and finding.repair)]
    if remaining:
        hint = "run `tunetrail doctor --fix`" if any(finding.repair for finding in remaining) else "see above"
        raise DataError(f"{len(remaining)} of these errors remain; {hint}")


def find(root: Path) -> Iterator[Finding]:
    yield from _locks(root / ".dvc" / "tmp")
    yield from _lock_file(root)
    yield from _half_written(root)
    yield from _unfinished(root / ".tunetrail")
    manifest = read_manifest(root / MANIFEST) if (root / MANIFEST).is_file() else None
    if manifest:
        yield from _weights(manifest)
    try:
        p = params.check(params.load(root / params.PARAMS))
    except DataError as error:
        yield Finding("warning", "params.yaml", reason(error), "`python -m stages.validate` lists all mistakes")
    else:
        yield from _room(root, p, manifest)
        yield from _optional(p)
    yield from _versions(root / "requirements.lock")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _locks(folder: Path) -> Iterator[Finding]:
    """DVC cannot read an rwlock that a kill left empty or cut, and waits for processes named in it."""
    for path in sorted(folder.rglob("rwlock")):
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            readers = [info for infos in held.get("read", {}).values() for info in infos]
            pids = {int(info["pid"]) for info in [*readers, *held.get("write", {}).values()]}
        except (ValueError, AttributeError, KeyError, TypeError):
            yield Finding("error", str(path), "cut by a kill, DVC cannot read it", "delete it", path.unlink)
            continue
        if pids and not any(map(_alive, pids)):
            yield Finding("warning", str(path), "names dead processes only", "delete it", path.unlink)


def _lock_file(root: Path) -> Iterator[Finding]:
    """Git has the last good dvc.lock, and DVC's run cache what was made since."""
    path = root / "dvc.lock"
    if not path.is_file():
        return
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(read_yaml(path.read_bytes(), str(path)))
    except (DataError, Invalid) as error:
        shown = subprocess.run(["git", "show", "HEAD:./dvc.lock"], cwd=root, capture_output=True)

        def restore() -> None:
            kept = root / ".tunetrail" / "broken" / f"dvc.lock.{int(time.time())}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept)
            write_text(path, shown.stdout.decode())

        problem, remedy = f"damaged ({reason(error)})", "restore the committed one, then run `dvc repro`"
        yield Finding("error", str(path), problem, remedy, restore if shown.returncode == 0 else None)


def _half_written(root: Path) -> Iterator[Finding]:
    places = [path for name in OUTPUTS for path in (root / name).rglob(".*.part")] + list(root.glob(".*.part"))
    for path in sorted(places):
        match = PART.fullmatch(path.name)
        pid = match and match[1]
        if (pid and not _alive(int(pid))) or (not pid and time.time() - path.stat().st_mtime > OLD):
            yield Finding("warning", str(path), "half-written, nobody writes it", "delete it", _remover(path))
    for path in sorted(cache().glob(".*")):  # made by tempfile.mkdtemp; the name holds no process id
        if path.is_dir() and time.time() - path.stat().st_mtime > OLD:
            yield Finding("warning", str(path), "half-fetched weights", "delete it", _remover(path))


def _remover(path: Path) -> Callable[[], Any]:
    return (lambda: shutil.rmtree(path, ignore_errors=True)) if path.is_dir() else (lambda: path.unlink(missing_ok=True))


def _unfinished(folder: Path) -> Iterator[Finding]:
    for path in sorted((folder / "responses").glob("*.json")):
        try:
            whole = isinstance(read_json(path), list)
        except DataError:
            whole = False
        if not whole:
            yield Finding("error", str(path), "a damaged answer of the teacher", "delete it; it is asked again", path.unlink)
    for path in sorted((folder / "checkpoints").glob("*")):
        days = (time.time() - path.stat().st_mtime) / 86400
        if days > KEPT_DAYS:
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 2**30
            yield Finding(
                "warning", str(path), f"unfinished for {days:.0f} days, {size:.1f} GiB", "delete it unless you resume"
            )
    if (folder / "before").is_dir():
        yield Finding(
            "warning",
            str(folder / "before"),
            "an experiment was interrupted; params.yaml and dvc.lock are its",
            "run `make experiment` again, which puts the old ones back first",
        )


def _weights(manifest: Manifest) -> Iterator[Finding]:
    folder = folder_of(manifest.model)
    if not folder.is_dir():
        return  # fetched when a stage needs them
    for name, pinned in manifest.files.items():
        path = folder / name
        if not path.is_file() or file_hash(path) != pinned.sha256:
            mine = manifest.model.source == "path"
            remedy = "run `dvc repro -f fetch`" if mine else "delete the folder; the next run fetches it again"
            yield Finding("error", str(path), f"not the file that {MANIFEST} pins", remedy, None if mine else _remover(folder))
            return


def _room(root: Path, p: Params, manifest: Manifest | None) -> Iterator[Finding]:
    """Estimates: two checkpoints of what is trained with its optimiser (three times its fp32 size), and DVC's copy."""
    if not manifest:
        return
    whole = p.adapter.type in params.WHOLE
    disk = manifest.weight_bytes + 2 * 3 * 4 * (manifest.parameters if whole else 0.05 * manifest.parameters)
    if (free := shutil.disk_usage(root).free) < disk:
        yield Finding("warning", str(root.resolve()), _short("disk", free, disk), "make room")
    if p.runtime.device != "cuda" and hasattr(os, "sysconf"):
        memory = BYTES_PER_PARAMETER * manifest.parameters * p.runtime.micro_batch_size / 4
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if total < memory:
            remedy = "lower runtime.micro_batch_size or set train.gradient_checkpointing=true"
            yield Finding("warning", "memory", _short("memory", total, memory), remedy)


def _short(what: str, there: float, needed: float) -> str:
    return f"{there / 2**30:.1f} GiB of {what}, the run in params.yaml needs about {needed / 2**30:.1f}"


def _optional(p: Params) -> Iterator[Finding]:
    key = getattr(p.teacher, "api_key_env", None)
    if key and not os.environ.get(key):
        yield Finding("warning", f"teacher.api_key_env = {key}", "this environment variable is not set", "export it")
    if p.train.report_to in ("swanlab", "tensorboard"):
        yield from _missing(p.train.report_to, f"train.report_to = {p.train.report_to}", "pip install -e '.[trackers]'")
    if not shutil.which("git"):
        yield Finding("error", "git", "not found", "install it")


def _missing(package: str, where: str, remedy: str) -> Iterator[Finding]:
    try:
        version(package)
    except PackageNotFoundError:
        yield Finding("warning", where, "not installed", remedy)


def _versions(path: Path) -> Iterator[Finding]:
    if not path.is_file():
        return
    pinned = dict(line.split("==") for line in lines(path) if "==" in line)
    differing = []
    for name, wanted in pinned.items():
        try:
            there = version(name).partition("+")[0]
        except PackageNotFoundError:
            there = "missing"
        if there != wanted.partition("+")[0]:
            differing.append(f"{name} {there} instead of {wanted}")
    if differing:
        problem = f"{len(differing)} of {len(pinned)} packages differ: {', '.join(differing[:3])}"
        yield Finding("warning", str(path), problem, "rm -rf .venv && make .venv/.ready")

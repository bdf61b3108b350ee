"""`tunetrail doctor`: find what a kill, a full disk or a changed machine leaves behind; with --fix, repair it.

An `error` stops DVC or a stage and makes the command exit with 1. A `warning` may slow or stop a run, `info` does neither.
Without --fix nothing is changed. What a living process holds, and what an interrupted command resumes from, is never deleted.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from stages.commands.doctor import leftovers, locks, machine
from stages.commands.doctor.finding import Finding, deleted
from stages.errors import DataError, reason
from stages.models.manifest import MANIFEST, read_manifest
from stages.models.sources import cache
from stages.terminal import visible


def doctor(fix: bool, root: Path = Path()) -> None:
    """Print what is wrong, one finding per line, and repair it with `fix`; raise DataError while an error remains."""
    findings = list(find(root))
    severities = [_report(finding, fix) for finding in findings]
    if set(severities) <= {"info"}:
        print("nothing to fix")
    if remaining := severities.count("error"):
        repairable = not fix and any(finding.repair for finding in findings if finding.severity == "error")
        raise DataError(f"errors that remain: {remaining}; {'run `tunetrail doctor --fix`' if repairable else 'see above'}")


def _report(finding: Finding, fix: bool) -> str:
    """Print a finding, repair it with `fix`, and return its severity then: fixed, or error if the repair failed."""
    severity, remedy = finding.severity, finding.remedy
    if finding.repair and fix:
        try:
            finding.repair()
            severity, remedy = "fixed", f"done as proposed: {remedy}"
        except (OSError, DataError) as error:
            severity, remedy = "error", f"--fix could not {remedy}: {reason(error)}"
    elif finding.repair:
        remedy = f"--fix would {remedy}"
    print(visible(f"{severity}: {finding.where}: {finding.problem}; {remedy}"))
    return severity


def find(root: Path) -> Iterator[Finding]:
    """Yield what is wrong in the repository at `root`; change nothing."""
    busy = locks.held(root / ".dvc/tmp/lock")
    if busy:
        yield Finding("warning", str(root / ".dvc/tmp/lock"), "a running DVC command holds it", "wait until it ends")
    if not shutil.which("git"):
        yield Finding("error", "git", "not found", "install it")
    if (root / ".git/index.lock").exists():
        yield Finding("warning", str(root / ".git/index.lock"), "git stops while it exists", "delete it if no git command runs")
    yield from locks.rwlocks(root / ".dvc" / "tmp")
    busy = busy or any(map(locks.is_used, (root / ".dvc" / "tmp").rglob("rwlock")))
    yield from locks.lock_file(root, busy)
    yield from leftovers.half_written(root, busy)
    yield from leftovers.fetching(cache())
    yield from leftovers.unfinished(root / ".tunetrail", busy)
    manifest = None
    if (root / MANIFEST).is_file():
        try:
            manifest = read_manifest(root / MANIFEST)
            yield from leftovers.weights(manifest)
        except ValueError:
            yield deleted("error", root / MANIFEST, "damaged", "delete it; `dvc repro` brings it back")
    yield from machine.parameters(root, manifest)
    yield from machine.versions(root / "requirements.lock", root / "torch.lock")

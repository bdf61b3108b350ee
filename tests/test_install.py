"""What `make` installs: torch by its version, the rest by hash. What pyproject.toml declares: all that is imported."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINNED = re.compile(r"([\w.-]+)==[\w.]+( \\\n    --hash=sha256:[0-9a-f]{64})+")


def make(folder: Path, *arguments: str) -> list[str]:
    """Return the commands that make prints in a copy of the Makefile."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "torch.lock"):
        if not (folder / name).exists():
            shutil.copy(ROOT / name, folder)
    environment = {key: value for key, value in os.environ.items() if key not in ("TORCH_INDEX", "MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def pip(lines: list[str]) -> list[str]:
    return [line for line in lines if " install " in line]


def test_lock_pins_every_package_by_sha256() -> None:
    entries = re.split(r"\n(?! )", LOCK.rstrip("\n"))
    assert not [entry for entry in entries if not PINNED.fullmatch(entry)]


def test_pinned_packages_run_on_the_first_python_of_each_minor() -> None:
    names = re.findall(r"^([\w.-]+)==", LOCK, re.MULTILINE)
    supported = {name: SpecifierSet(metadata(name).get("Requires-Python") or "") for name in names}
    assert {name for name, versions in supported.items() for minor in (11, 12, 13) if f"3.{minor}.0" not in versions} == set()


def test_torch_is_pinned_alone_by_version() -> None:
    assert re.fullmatch(r"torch==[\d.]+\n", (ROOT / "torch.lock").read_text(encoding="utf-8"))
    assert not re.search(r"^(torch|triton|nvidia-|cuda-)", LOCK, re.MULTILINE)


def test_lock_holds_all_that_tunetrail_needs() -> None:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    waiting = [*project["dependencies"], *extras["dev"], *extras["documents"], "setuptools"]
    needed = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        unused = requirement.marker and not requirement.marker.evaluate({"extra": ""})
        if unused or name in needed or name.startswith(("nvidia-", "cuda-", "triton")):
            continue
        needed.add(name)
        with suppress(PackageNotFoundError):
            waiting += requires(name) or []
    assert needed - {"torch", "tunetrail"} <= {canonicalize_name(name) for name, _ in PINNED.findall(LOCK)}


def test_every_imported_package_is_declared() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    lines = [*PROJECT["project"]["dependencies"], *extras["documents"], *extras["lm-eval"]]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    known, undeclared = packages_distributions(), set()
    for path in [*(ROOT / "stages").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules = {name.partition(".")[0] for name in names} - {"stages", *sys.stdlib_module_names}
            undeclared |= {
                module for module in modules if not {canonicalize_name(n) for n in known.get(module, [module])} & declared
            }
    assert not undeclared


def test_package_holds_every_file_of_the_stages() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    tracked = subprocess.run(["git", "ls-files", "stages"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not [path for path in tracked if not any(Path(path).match(pattern) for pattern in ["*.py", *patterns])]


def test_torch_comes_first_and_the_rest_by_hash(tmp_path) -> None:
    torch, *hashed, rest = pip(make(tmp_path, "--dry-run", ".venv/.ready"))
    assert torch.endswith("--no-deps  --requirement torch.lock")
    assert len(hashed) == 2 and all("--no-deps --require-hashes" in line for line in hashed)
    assert rest.endswith("--no-build-isolation  --editable .")


@pytest.mark.parametrize("option", ["TORCH_INDEX=", "TORCH_INDEX=https://x.example/cpu", "PIP_FLAGS=--extra-index-url x"])
def test_only_torch_is_asked_of_a_named_index(tmp_path, option) -> None:
    torch, *hashed, rest = pip(make(tmp_path, "--dry-run", ".venv/.ready", option))
    assert not [line for line in [torch, *hashed, rest] if "extra-index-url" in line]
    assert not [line for line in hashed if "index" in line]
    named = '--index-url "https://x.example/cpu"'
    assert (named in torch) == (named in rest) == ("https" in option)


def test_lock_writes_torch_apart_and_leaves_cuda_to_it(tmp_path) -> None:
    commands = tmp_path / ".venv/bin"
    commands.mkdir(parents=True)
    libraries = "nvidia-cublas==13.1\ncuda-bindings==13.0\ntriton==3.6\n"
    frozen = f"numpy==2.4.6\npip==23.2\ntorch==2.13.0+cu130\ntorchmetrics==1.0\n{libraries}"
    for name, line in {"pip": f"printf '{frozen}'", "uv": 'echo "$@" > options; cat > packages'}.items():
        (commands / name).write_text(f"#!/usr/bin/env bash\n{line}\n")
        (commands / name).chmod(0o755)
    make(tmp_path, "lock", "--assume-old=.venv/.ready")
    assert (tmp_path / "torch.lock").read_text() == "torch==2.13.0\n"
    assert (tmp_path / "packages").read_text() == "numpy==2.4.6\ntorchmetrics==1.0\n"
    assert "--generate-hashes" in (tmp_path / "options").read_text()

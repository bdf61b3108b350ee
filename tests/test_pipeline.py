"""dvc.yaml lists the dependencies of each stage; these tests compare them with what its code reads and imports."""

import ast
import re
import subprocess
import sys
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PIPELINE: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
NAMES = sorted(PIPELINE)

# These modules set the environment, read parameters (DVC tracks their values) and end the process. They change no result.
SCHEMA = Path("stages/params")
WIRING = {
    Path("stages/__init__.py"),
    Path("stages/stage.py"),
    SCHEMA,
    *(path.relative_to(ROOT) for path in (ROOT / SCHEMA).glob("*.py")),
}


def code_folder(name: str) -> Path:
    """Return the folder of a stage's code, from its command `python -m stages.<folder>`."""
    return Path(PIPELINE[name]["cmd"].split()[2].replace(".", "/"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def sections_read(name: str) -> list[str]:
    """Return the arguments of params.read in the stage's __main__; those under `if tuned:` count only for stages `…_tuned`."""
    sections: list[str] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and not name.endswith(node.test.id):
            return
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "params.read":
            sections.extend(_dvc_notation(argument) for argument in node.args)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree(code_folder(name) / "__main__.py"))
    return sorted(sections)


def _dvc_notation(argument: ast.expr) -> str:
    """Return an argument as dvc.yaml writes it: f"synthesis.{method}" becomes synthesis.${item.method}."""
    if isinstance(argument, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else f"${{item.{ast.unparse(part.value)}}}"  # type: ignore[attr-defined]
            for part in argument.values
        )
    assert isinstance(argument, ast.Constant), f"params.read({ast.unparse(argument)}) cannot be compared with dvc.yaml"
    return str(argument.value)


@cache
def imported(path: Path) -> set[Path]:
    """Return the files of this repository that a file imports, including imports inside functions."""
    package = ".".join(path.parent.parts)
    modules: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else str(node.module)
            modules |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {file for module in modules if module.split(".")[0] == "stages" for file in _files(module)}


def _files(module: str) -> list[Path]:
    path = Path(module.replace(".", "/"))
    parts = [parent / "__init__.py" for parent in (path, *path.parents)] + [path.with_suffix(".py")]
    return [part for part in parts if (ROOT / part).is_file() and (ROOT / part).stat().st_size]


def closure(name: str) -> set[Path]:
    """Return every file of this repository that a stage runs, except WIRING."""
    waiting, seen = [code_folder(name) / "__main__.py"], set()
    while waiting:
        path = waiting.pop()
        if path not in seen | WIRING:
            seen.add(path)
            waiting.extend(imported(path))
    return seen


def code_deps(name: str) -> list[Path]:
    return [Path(dep) for dep in PIPELINE[name]["deps"] if dep.startswith("stages/")]


def outputs(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the paths and flags of a stage's outputs."""
    listed = [out for kind in ("outs", "metrics", "plots") for out in PIPELINE[name].get(kind, [])]
    return [pair for out in listed for pair in (out.items() if isinstance(out, dict) else [(out, {})])]


@pytest.mark.parametrize("name", NAMES)
def test_stage_lists_exactly_the_parameters_that_it_reads(name: str) -> None:
    assert sorted(PIPELINE[name].get("params", [])) == sections_read(name)


def test_page_on_architecture_lists_the_parameters_of_each_stage() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    _, _, *rows = re.findall(r"^\|.*", page.partition("## From data to report")[2].partition("\n## ")[0], re.MULTILINE)
    cells = [row.strip("|").split("|") for row in rows]
    listed = {re.findall("`(.*?)`", first)[0]: set(re.findall("`(.*?)`", last)) for first, *_, last in cells}
    read: dict[str, set[str]] = {}
    for name in NAMES:
        keys = {key.replace("${item.method}", "<method>") for key in PIPELINE[name].get("params", [])}
        read.setdefault(name.partition("_")[0], set()).update(keys)
    assert listed == read


def test_no_stage_depends_on_runtime() -> None:
    assert [name for name in NAMES for key in PIPELINE[name].get("params", []) if key.split(".")[0] == "runtime"] == []


def test_only_the_main_module_of_a_stage_reads_parameters() -> None:
    readers = {f"params.{name}" for name in ("read", "load", "check_file", "runtime", "server")}
    hidden = [
        f"{name}: {path}:{node.lineno}"
        for name in NAMES
        if "params.yaml" not in PIPELINE[name]["deps"]
        for path in sorted(closure(name) - {code_folder(name) / "__main__.py"})
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in readers
    ]
    assert hidden == []


@pytest.mark.parametrize("name", NAMES)
def test_stage_depends_on_all_code_that_it_runs(name: str) -> None:
    deps = code_deps(name)
    assert sorted(str(path) for path in closure(name) if not {path, *path.parents} & set(deps)) == []


@pytest.mark.parametrize("name", NAMES)
def test_stage_depends_on_no_code_that_it_does_not_run(name: str) -> None:
    run = closure(name)
    assert [str(dep) for dep in code_deps(name) if dep not in WIRING and not any(dep in {p, *p.parents} for p in run)] == []


@pytest.mark.parametrize("name", NAMES)
def test_all_code_dependencies_exist(name: str) -> None:
    assert [str(dep) for dep in code_deps(name) if not (ROOT / dep).exists()] == []


@pytest.mark.parametrize("name", [name for name in NAMES if "matrix" in PIPELINE[name]])
def test_instances_of_a_stage_write_to_different_paths(name: str) -> None:
    (axis,) = PIPELINE[name]["matrix"]
    assert [path for path, _ in outputs(name) if f"${{item.{axis}}}" not in path] == []
    assert f"${{item.{axis}}}" in PIPELINE[name]["cmd"]


def test_no_output_persists_and_git_tracks_only_the_report() -> None:
    flags = {name: {flag for _, flags in outputs(name) for flag in flags.items()} for name in NAMES}
    assert {name for name in NAMES if ("persist", True) in flags[name]} == set()
    assert {name for name in NAMES if ("cache", False) in flags[name]} == {"report"}
    assert [path for path, _ in outputs("report") if not path.startswith("reports/${name}/")] == []


def test_base_predictions_do_not_depend_on_training() -> None:
    deps = {dep for dep in PIPELINE["predict_base"]["deps"] if not dep.startswith("stages/")}
    fields = "data/formatted/schemas.json"  # of the training rows' answers: other rows with the same fields leave it as it is
    assert deps == {"data/formatted/${predict.split}.jsonl", "data/formatted/shots.jsonl", "models/base.json", fields}


def test_command_that_works_in_a_dependency_does_not_change_it() -> None:
    """A killed judge leaves its lock next to what the report depends on; git ignores it, so a clone lacks it."""
    left = [f"data/authored/assessments/mine/.judge.json.{ending}" for ending in ("lock", "7.part")]
    command = [sys.executable, "-m", "dvc", "check-ignore", *left, "data/authored/assessments/mine/judge.json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.splitlines() == left


def test_every_stage_and_the_command_start_without_torch() -> None:
    modules = [".".join((code_folder(name) / "__main__").parts) for name in NAMES] + ["stages.cli"]
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'transformers', 'datasets', 'peft', 'trl'} & set(sys.modules)\n"
        "    assert not heavy, f'{name} imports {sorted(heavy)}'\n"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.stderr == ""
    assert run.returncode == 0

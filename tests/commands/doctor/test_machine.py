"""What the run in params.yaml lacks: readable files, room, packages, keys."""

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from stages import params
from stages.commands.doctor import machine
from stages.commands.doctor.command import doctor
from stages.models.manifest import MANIFEST
from stages.params import compose
from tests.fixtures.repairs import printed


def test_wrong_parameters_are_left_to_validate(root, capsys) -> None:
    path = root / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("seed: 42\n", "seed: x\n"), encoding="utf-8")
    line, last = printed(capsys, fix=True)
    assert line.startswith("error: params.yaml: seed = 'x': ") and "python -m stages.validate" in line
    assert last == "errors that remain: 1; see above"


def test_cut_params_yaml_is_named_with_its_remedy(root, capsys) -> None:
    path = root / "params.yaml"
    path.write_bytes(path.read_bytes()[:900])
    line, _ = printed(capsys)
    assert line.startswith("error: params.yaml: lacks ") and "(schema, name, seed, …)" in line
    assert "cut" in line and "`git checkout params.yaml`" in line and "tunetrail compose" in line


def test_cut_dvc_yaml_that_is_still_yaml_is_named(root, capsys) -> None:
    whole = "stages:\n  validate:\n    cmd: python\n  fetch:\n    cmd: python\n"
    (root / "dvc.yaml").write_text(whole, encoding="utf-8")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run([*git, "add", "dvc.yaml"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "stages"], check=True)
    assert printed(capsys) == ["nothing to fix"]
    (root / "dvc.yaml").write_text(whole.partition("  fetch")[0], encoding="utf-8")
    assert printed(capsys) == ["nothing to fix"]  # somebody may have deleted the last stage
    (root / "dvc.yaml").write_text(whole.partition("on\n  fetch")[0], encoding="utf-8")
    assert printed(capsys)[0].startswith("error: dvc.yaml: only the beginning of the committed one; `git checkout dvc.yaml`")


def test_other_versions_than_pinned_are_counted(root, capsys) -> None:
    locked = "pytest==0.0.1 \\\n    --hash=sha256:0\nno-such-package==1.0 \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\n"
    (root / "requirements.lock").write_text(locked, encoding="utf-8")
    (root / "torch.lock").write_text("torch==0.0.2\n", encoding="utf-8")
    (line,) = printed(capsys)
    assert "3 of 3 packages differ: pytest " in line and "no-such-package missing instead of 1.0, torch " in line


def test_missing_room_and_keys_are_warned_of(root, capsys, monkeypatch, manifest) -> None:
    large = manifest.model_copy(update={"parameters": 10**15})
    (root / MANIFEST).parent.mkdir()
    (root / MANIFEST).write_text(large.model_dump_json(), encoding="utf-8")
    monkeypatch.delenv("A_KEY", raising=False)
    compose.compose(["teacher=openai", "teacher.model=m", "teacher.api_key_env=A_KEY"], params.PARAMS)
    report = "\n".join(printed(capsys))
    assert all(text in report for text in ("GiB of disk", "GiB of memory", "teacher.api_key_env = A_KEY"))


@pytest.mark.parametrize(("fast", "warned"), [(True, False), (False, True)])
def test_more_memory_is_needed_where_a_processor_is_slow_in_bf16(root, capsys, monkeypatch, fast, warned) -> None:
    """A model of a billion parameters needs 38.2 GiB in bf16, 60.5 in fp32."""
    monkeypatch.setattr(machine, "_size", lambda name: 10**9)
    monkeypatch.setattr(machine, "_in_fp32", lambda precision: not fast)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=50 * 2**30))
    lines = [line for line in printed(capsys) if "GiB of memory" in line]
    assert bool(lines) == warned and all("needs about 60.5 (estimate)" in line for line in lines)


def test_room_is_estimated_before_the_model_is_fetched(root, capsys, monkeypatch) -> None:
    usage = shutil.disk_usage(root)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    assert any("0.0 GiB of disk are free, the run in params.yaml needs about 0.7" in line for line in printed(capsys))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("SmolLM2-135M-Instruct", 135e6),
        ("Qwen3-0.6B", 6e8),
        ("gemma-3-270m", 27e7),
        ("Llama-3.2-1B-Instruct", 1e9),
        ("t5", 0),
        ("Qwen1.5-MoE-A2.7B", 0),
    ],
)
def test_size_of_a_model_is_read_from_its_name(name, size) -> None:
    assert machine._size(name) == size


def test_optional_parts_are_info_and_not_findings(root, capsys, monkeypatch) -> None:
    monkeypatch.setattr(machine, "_installed", lambda package: "")
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "git" else None)
    doctor(fix=False)
    shown = capsys.readouterr().out
    assert shown.startswith("info: optional parts: not installed: lm-eval, swanlab, tensorboard, chromium")
    assert shown.endswith("\nnothing to fix\n")


def test_missing_gpu_is_warned_of(root, capsys, monkeypatch) -> None:
    compose.compose(["runtime=cuda"], params.PARAMS)
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "git" else None)
    assert any(line.startswith("warning: runtime.device = cuda: ") for line in printed(capsys))


@pytest.mark.parametrize("name", ["config", "config.local"])
@pytest.mark.parametrize("content", ["[core]\n    analy", "[core\n", "[core]\n[core]\n", "\udcff"])
def test_configuration_that_dvc_cannot_read_is_named(root, capsys, name, content) -> None:
    (root / ".dvc" / name).write_bytes(content.encode(errors="surrogateescape"))
    line = printed(capsys)[0]
    assert line.startswith(f"error: .dvc/{name}: DVC cannot read it (")
    assert ("`git checkout .dvc/config`" in line) == (name == "config")

"""tunetrail doctor: what it finds, what it repairs, and what it leaves alone."""

import fcntl
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stages import locks, params
from stages.commands.doctor import leftovers, machine
from stages.commands.doctor.command import doctor, find
from stages.errors import DataError
from stages.models.manifest import MANIFEST
from stages.params import PathModel, compose

DEAD = 2**22 - 1  # above what Linux gives to a process by default


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A repository in which nothing is wrong."""
    monkeypatch.setenv("TUNETRAIL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "repository"
    (folder / ".dvc/tmp/exps").mkdir(parents=True)
    for name in ("params.yaml", "dvc.lock"):
        shutil.copy(compose.ROOT / name, folder / name)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for arguments in (["init", "--quiet"], ["add", "params.yaml", "dvc.lock"], ["commit", "--quiet", "-m", "a run"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    return folder


def printed(capsys, fix: bool = False) -> list[str]:
    """Return the printed findings, without the line about optional parts, and the error if there is one."""
    try:
        doctor(fix)
        message = []
    except DataError as error:
        message = [str(error)]
    shown = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("info: ")]
    return [*shown, *message]


def files(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file() and ".git" not in path.parts}


def test_nothing_wrong_is_reported_as_nothing(root, capsys) -> None:
    assert printed(capsys) == ["nothing to fix"]


def old(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    os.utime(path, (time.time() - 2 * leftovers.OLD,) * 2)
    return path


def old_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    os.utime(path, (time.time() - 2 * leftovers.OLD,) * 2)
    return path


def lock(pid: int) -> str:
    return json.dumps({"read": {"/data": [{"pid": pid, "cmd": "dvc repro"}]}, "write": {}})


LEFT = {
    "empty lock": (".dvc/tmp/rwlock", "", "error"),
    "cut lock": (".dvc/tmp/exps/rwlock", '{"read": {', "error"),
    "lock of a dead process": (".dvc/tmp/rwlock", lock(DEAD), "warning"),
    "damaged answer": (".tunetrail/responses/a.json", '[{"text"', "error"),
    "half-written file": (f"data/.tasks.jsonl.{DEAD}.part", "x", "warning"),
    "lock that DVC refuses": (".dvc/tmp/rwlock", '{"read": {"/data": [{"pid": 1}]}}', "error"),
    "file that DVC was copying": (f"data/predictions/.{'aB-_' * 5}ab.tmp", "x", "warning"),
    "damaged manifest": ("models/base.json", '{"model": {', "error"),
    "lock of a command": (".answers.jsonl.lock", "1 tunetrail predict", "warning"),
    "lock next to a report": ("reports/smoke/.judge.json.lock", "7 tunetrail judge", "warning"),
    "start of an experiment": (".tunetrail/before", None, "error"),
    "half-fetched weights": (f"../cache/.tiny-{'0a' * 8}.a_b1c2d3", None, "warning"),
}


@pytest.mark.parametrize(("name", "content", "severity"), LEFT.values(), ids=LEFT)
def test_what_a_kill_leaves_is_named_and_deleted_by_fix(root, capsys, name, content, severity) -> None:
    path = old(root / name, content) if content is not None else old_folder(root / name)
    shown, before = name.replace("..", str(root.parent)), files(root)
    lines = printed(capsys)
    assert lines[0].startswith(f"{severity}: {shown}: ") and "; --fix would delete it" in lines[0]
    assert path.exists() and files(root) == before
    assert (lines[-1] == "errors that remain: 1; run `tunetrail doctor --fix`") == (severity == "error")
    assert printed(capsys, fix=True)[0].startswith(f"fixed: {shown}: ")
    assert not path.exists() and printed(capsys) == ["nothing to fix"]


NOT_OURS = (
    ".video.mp4.part",
    "reports/.report.md.part",
    "data/.chats.jsonl.part",
    f"data/authored/.mine.{DEAD}.part",
    "data/authored/.mine.lock",
    ".package-lock.json.lock",
    "data/.bibliography.tmp",
)


@pytest.mark.parametrize("name", NOT_OURS)
@pytest.mark.parametrize("content", ["", "{}", "my only copy"])
def test_files_that_others_wrote_are_left_alone(root, capsys, name, content) -> None:
    path = old(root / name, content)
    assert printed(capsys, fix=True) == ["nothing to fix"]
    assert path.read_text(encoding="utf-8") == content


def test_fresh_file_of_a_process_unknown_here_is_left_alone(root, capsys) -> None:
    """It may be that of another container that shares the folder."""
    path = old(root / f"models/42/.adapter.{DEAD}.part", "being written")
    os.utime(path)
    assert printed(capsys, fix=True) == ["nothing to fix"] and path.exists()


def test_what_a_living_process_holds_is_left_alone(root, capsys) -> None:
    old(root / ".dvc/tmp/rwlock", lock(os.getpid()))
    old(root / f"models/42/.adapter.{os.getpid()}.part")
    old(root / f"data/.{'x' * 22}.tmp")
    (root / "reports").mkdir()
    before = files(root)
    assert printed(capsys, fix=True) == ["nothing to fix"]
    assert files(root) == before


def test_lock_that_dvc_is_writing_is_left_alone(root, capsys) -> None:
    path = old(root / ".dvc/tmp/rwlock")
    with path.with_name("rwlock.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        assert printed(capsys, fix=True) == ["nothing to fix"]
    assert path.exists()


def test_only_entries_of_dead_processes_are_dropped(root, capsys) -> None:
    mine, dead = {"pid": os.getpid(), "cmd": "dvc repro"}, {"pid": DEAD, "cmd": "dvc repro"}
    path = old(root / ".dvc/tmp/rwlock", json.dumps({"read": {"/a": [mine, dead]}, "write": {"/b": dead, "/c": mine}}))
    assert "names 1 dead process; --fix would drop the entries" in printed(capsys)[0]
    assert printed(capsys, fix=True)[0].startswith("fixed: .dvc/tmp/rwlock")
    assert json.loads(path.read_text()) == {"read": {"/a": [mine]}, "write": {"/c": mine}}


def test_zombie_holds_no_lock(root, capsys) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    path = old(root / ".dvc/tmp/rwlock", lock(child.pid))
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    printed(capsys, fix=True)
    assert not path.exists()
    child.wait()


def test_running_dvc_is_named(root, capsys) -> None:
    with old(root / ".dvc/tmp/lock", " 1\n").open() as held:
        assert printed(capsys) == ["nothing to fix"]  # a file alone locks nothing
        fcntl.flock(held, fcntl.LOCK_EX)
        assert printed(capsys, fix=True) == ["warning: .dvc/tmp/lock: a running DVC command holds it; wait until it ends"]


def test_answers_that_predict_resumes_from_are_kept(root, capsys) -> None:
    path = old(root / ".out.jsonl.012345678901.part", "an answer\n")
    assert printed(capsys, fix=True) == ["nothing to fix"] and path.exists()
    os.utime(path, (0, 0))
    assert "delete it unless you resume" in printed(capsys, fix=True)[0] and path.exists()


def test_other_folders_in_the_cache_are_left_alone(root, capsys, monkeypatch) -> None:
    monkeypatch.setenv("TUNETRAIL_CACHE", str(root.parent / "home"))
    kept = [old_folder(root.parent / "home" / name) for name in (".ssh", ".config", "tmp1234abcd")]
    download = old_folder(root.parent / "home" / f".tiny-{'0a' * 8}.a_b1c2d3")
    (download / "model.gguf").write_text("arriving", encoding="utf-8")
    os.utime(download, (0, 0))
    assert printed(capsys, fix=True) == ["nothing to fix"]
    assert all(path.is_dir() for path in (*kept, download))


def test_failed_repair_is_an_error_and_others_continue(root, capsys, monkeypatch) -> None:
    first, second = old(root / f"data/.a.{DEAD}.part"), old(root / f"data/.b.{DEAD}.part")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == first.name:
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    lines = printed(capsys, fix=True)
    assert lines[0].startswith("error: ") and "--fix could not delete it: " in lines[0]
    assert lines[1].startswith("fixed: ") and lines[2] == "errors that remain: 1; see above"
    assert first.exists() and not second.exists()


def test_old_checkpoints_are_reported_and_kept(root, capsys) -> None:
    path = old(root / ".tunetrail/checkpoints/0a1b/checkpoint-2/model.bin", "weights")
    assert printed(capsys) == ["nothing to fix"]
    for each in (path, path.parent, path.parent.parent):
        os.utime(each, (time.time() - 86400 * 31,) * 2)
    (line,) = printed(capsys, fix=True)
    assert line.startswith("warning: .tunetrail/checkpoints/0a1b: unfinished for 31 days") and path.exists()


def test_interrupted_experiment_is_reported(root, capsys) -> None:
    for name in ("params.yaml", "dvc.lock"):
        old(root / ".tunetrail/before" / name)
    (line,) = printed(capsys, fix=True)
    assert line.startswith("warning: .tunetrail/before: ") and "run `make experiment` again" in line


@pytest.mark.parametrize("cut", ["schema: '2.0'\nstages:\n  fetch:\n    cmd: python\n    deps: [{path", "stages: 7\n", "\0"])
def test_damaged_dvc_lock_is_restored_from_git(root, capsys, cut) -> None:
    good = (root / "dvc.lock").read_bytes()
    (root / "dvc.lock").write_text(cut, encoding="utf-8")
    assert printed(capsys)[0].startswith("error: dvc.lock: damaged")
    assert printed(capsys, fix=True)[0].startswith("fixed: dvc.lock: damaged")
    assert (root / "dvc.lock").read_bytes() == good
    (kept,) = (root / ".tunetrail/broken").iterdir()
    assert kept.read_text(encoding="utf-8") == cut


def test_dvc_lock_cut_in_a_line_or_an_entry_is_restored(root, capsys) -> None:
    """Cut between two entries, it lists fewer results, and DVC takes those that are missing from its run cache."""
    shutil.copy(compose.ROOT / "dvc.yaml", root / "dvc.yaml")
    good = (root / "dvc.lock").read_bytes()
    draw = random.Random(5)
    cuts = [draw.randrange(1, len(good)) for _ in range(6)]
    breaks = [at + 1 for at, byte in enumerate(good) if byte == ord("\n")]
    for cut in [*cuts, *draw.sample(breaks, 6), breaks[-1] - 1]:
        (root / "dvc.lock").write_bytes(good[:cut])
        lines = printed(capsys, fix=True)
        if lines == ["nothing to fix"]:
            entries = [*re.finditer(rb"^    - path: .*\n(?:      .*\n)*|^  \S+:\n    cmd: ", good[:cut], re.MULTILINE)]
            assert cut in breaks and (entries[-1].end() == cut or good[:cut].endswith(b"outs:\n")), cut
            continue
        assert lines[0].startswith("fixed: dvc.lock: damaged (") and (root / "dvc.lock").read_bytes() == good, cut


def test_unresolved_merge_in_dvc_lock_is_left_to_the_user(root, capsys) -> None:
    merged = "<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.0'\n>>>>>>> theirs\n"
    (root / "dvc.lock").write_text(merged, encoding="utf-8")
    lines = printed(capsys, fix=True)
    assert "unresolved merge; keep one side" in lines[0] and lines[-1] == "errors that remain: 1; see above"
    assert (root / "dvc.lock").read_text(encoding="utf-8") == merged


def test_damaged_dvc_lock_without_a_committed_one_stays(root, capsys) -> None:
    shutil.rmtree(root / ".git")
    (root / "dvc.lock").write_text("stages: 7\n", encoding="utf-8")
    lines = printed(capsys, fix=True)
    assert "git has no undamaged one" in lines[0] and lines[-1] == "errors that remain: 1; see above"
    assert (root / "dvc.lock").read_text(encoding="utf-8") == "stages: 7\n"


@pytest.mark.parametrize("name", ["dvc.yaml", "params.yaml"])
@pytest.mark.parametrize("cut", ["", "seed: [1,", "a: 'cut"])
def test_unreadable_yaml_is_left_to_the_user(root, capsys, name, cut) -> None:
    (root / name).write_text(cut, encoding="utf-8")
    lines = printed(capsys, fix=True)
    assert lines[0].startswith(f"error: {name}: cannot be read") and f"`git checkout {name}`" in lines[0]
    assert lines[-1] == "errors that remain: 1; see above" and (root / name).read_text(encoding="utf-8") == cut


def test_weights_that_differ_are_fetched_again(root, capsys, manifest, weights) -> None:
    folder = root.parent / "cache" / weights.name
    shutil.copytree(weights, folder)
    (root / MANIFEST).parent.mkdir()
    (root / MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")
    assert printed(capsys) == ["nothing to fix"]
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert "config.json is not the file that models/base.json pins" in printed(capsys)[0] and folder.is_dir()
    assert printed(capsys, fix=True)[0].startswith(f"fixed: {folder}: ")
    assert not folder.exists() and printed(capsys) == ["nothing to fix"]


def test_weights_in_a_folder_of_the_user_are_never_deleted(root, capsys, manifest, weights) -> None:
    own = shutil.copytree(weights, root.parent / "own")
    stored = manifest.model_copy(update={"model": PathModel(source="path", name="own", path=str(own), license="MIT")})
    (root / MANIFEST).parent.mkdir()
    (root / MANIFEST).write_text(stored.model_dump_json(), encoding="utf-8")
    (own / "config.json").write_text("{}", encoding="utf-8")
    lines = printed(capsys, fix=True)
    assert lines[0].startswith(f"error: {own}: config.json") and (own / "config.json").read_text() == "{}"


def test_wrong_parameters_are_left_to_validate(root, capsys) -> None:
    (root / "params.yaml").write_text("seed: 42\n", encoding="utf-8")
    line, last = printed(capsys, fix=True)
    assert line.startswith("error: params.yaml: ") and "python -m stages.validate" in line
    assert last == "errors that remain: 1; see above"


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


def test_lock_of_git_is_named_and_kept(root, capsys) -> None:
    (root / ".git/index.lock").write_text("", encoding="utf-8")
    assert printed(capsys, fix=True) == [
        "warning: .git/index.lock: git stops while it exists; delete it if no git command runs"
    ]
    assert (root / ".git/index.lock").exists()


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


def test_doctor_starts_without_torch(root) -> None:
    code = "import sys; from stages.commands.doctor.command import doctor; doctor(False); sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(compose.ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=root, env=environment).returncode == 0


def test_find_changes_nothing_and_returns_findings(root) -> None:
    old(root / f"data/.a.{DEAD}.part")
    before = files(root)
    assert [finding.severity for finding in find(Path()) if finding.severity != "info"] == ["warning"]
    assert files(root) == before


def test_what_a_running_experiment_holds_is_left_alone(root, capsys) -> None:
    old_folder(root / ".tunetrail/before")
    own = root / ".answers.jsonl.lock"
    for path in (own, locks.path_of(root / locks.EXPERIMENT)):
        path.parent.mkdir(exist_ok=True)
    with own.open("w") as one, locks.path_of(root / locks.EXPERIMENT).open("w") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        fcntl.flock(other, fcntl.LOCK_EX)
        assert printed(capsys, fix=True) == ["nothing to fix"]
    assert (root / ".tunetrail/before").exists() and own.exists()

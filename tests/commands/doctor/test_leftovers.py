"""Files and folders that a kill leaves behind are deleted, and nothing else."""

import os
import shutil
import time

import pytest

from stages.models.manifest import MANIFEST
from stages.params import PathModel
from stages.teachers.teacher import REPLIES, Reply
from tests.fixtures.repairs import DEAD, files, lock, old, old_folder, printed

LEFT = {
    "empty lock": (".dvc/tmp/rwlock", "", "error"),
    "cut lock": (".dvc/tmp/exps/rwlock", '{"read": {', "error"),
    "lock of a dead process": (".dvc/tmp/rwlock", lock(DEAD), "warning"),
    "damaged answer": (".tunetrail/responses/a.json", '[{"text"', "error"),
    "answer without its fields": (".tunetrail/responses/a.json", "[1, 2]", "error"),
    "answer to nothing": (".tunetrail/responses/a.json", "[]", "error"),
    "half-written file": (f"data/.tasks.jsonl.{DEAD}.part", "x", "warning"),
    "lock that DVC refuses": (".dvc/tmp/rwlock", '{"read": {"/data": [{"pid": 1}]}}', "error"),
    "file that DVC was copying": (f"data/predictions/.{'aB-_' * 5}ab.tmp", "x", "warning"),
    "damaged manifest": ("models/base.json", '{"model": {', "error"),
    "lock of a command": (".answers.jsonl.lock", "1 tunetrail predict", "warning"),
    "lock next to a report": ("reports/smoke/.page.md.lock", "7 tunetrail compare", "warning"),
    "start of an experiment": (".tunetrail/before", None, "error"),
    "half-kept adapter": (f"adapters/.mine.{DEAD}.part", None, "warning"),
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
    f"data/own/.rows.{DEAD}.part",
    "data/own/.notes.lock",
    f"data/own/set/.{'aB-_' * 5}ab.tmp",
    ".todo.lock",
)


@pytest.mark.parametrize("content", ["", "{}", "my only copy", "2024 measurements, by hand"])
def test_files_that_others_wrote_are_left_alone(root, capsys, content) -> None:
    paths = [old(root / name, content) for name in NOT_OURS]
    assert printed(capsys, fix=True) == ["nothing to fix"]
    assert [path.read_text(encoding="utf-8") for path in paths] == [content] * len(NOT_OURS)


def test_fresh_file_of_a_process_unknown_here_is_left_alone(root, capsys) -> None:
    """It may be that of another container that shares the folder."""
    path = old(root / f"models/42/.adapter.{DEAD}.part", "being written")
    os.utime(path)
    assert printed(capsys, fix=True) == ["nothing to fix"] and path.exists()


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


def test_whole_answer_of_the_teacher_is_kept(root, capsys) -> None:
    reply = Reply(text="yes", stopped=True, prompt_tokens=1, new_tokens=1)
    path = old(root / ".tunetrail/responses/a.json", REPLIES.dump_json([reply]).decode())
    assert printed(capsys, fix=True) == ["nothing to fix"] and path.exists()


def test_old_checkpoints_are_reported_and_kept(root, capsys) -> None:
    path = old(root / ".tunetrail/checkpoints/0a1b/checkpoint-2/model.bin", "weights")
    assert printed(capsys) == ["nothing to fix"]
    for each in (path, path.parent, path.parent.parent):
        os.utime(each, (time.time() - 86400 * 31,) * 2)
    (line,) = printed(capsys, fix=True)
    assert line.startswith("warning: .tunetrail/checkpoints/0a1b: unfinished for 31 days") and path.exists()


def test_kept_rounds_of_alignment_are_not_called_unfinished(root, capsys) -> None:
    for name, content in (("1/round.json", "{}"), ("1/trained.safetensors", "weights"), ("2/checkpoint-2/model.bin", "x")):
        old(root / f".tunetrail/checkpoints/0a1b/round-{name}", content)
    folder = root / ".tunetrail/checkpoints/0a1b"

    def shown() -> str:
        for each in (folder, *folder.rglob("*")):
            os.utime(each, (time.time() - 86400 * 31,) * 2)
        (line,) = printed(capsys, fix=True)
        return line

    assert "0a1b: unfinished for 31 days" in shown()
    shutil.rmtree(folder / "round-2")
    assert "0a1b: finished rounds of align=dpo, 31 days old" in shown()
    assert (
        "reused by the same code with another align.rounds; delete the folder to free the space" in shown() and folder.is_dir()
    )


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


@pytest.mark.parametrize("make", [old, old_folder])
def test_half_written_file_next_to_params_is_left_to_the_user(root, capsys, make) -> None:
    path = make(root / f".draft.{DEAD}.part", "my only copy") if make is old else make(root / f".draft.{DEAD}.part")
    (line,) = [line for line in printed(capsys, fix=True) if "draft" in line]
    assert line.endswith("perhaps half-written by a process that ended; delete it if it is not yours")
    assert path.exists()

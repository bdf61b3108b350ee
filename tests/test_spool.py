"""Records that wait on disk."""

import errno
import gc
from contextlib import suppress
from pathlib import Path

import pytest

from stages import spool
from stages.errors import DataError
from stages.records import Task
from stages.spool import Again, Spool

TASKS = [Task(kind="text", input=f"line\n{number} é\u2028", output="x", source="s") for number in range(3)]


def test_records_are_read_as_often_as_needed() -> None:
    spooled = Spool(Task, TASKS[:2])
    assert list(spooled) == list(spooled) == TASKS[:2]
    spooled.append(TASKS[2])
    assert list(zip(spooled, spooled, strict=True)) == [(task, task) for task in TASKS]
    assert (len(spooled), TASKS[2] in spooled, bool(Spool(Task))) == (3, True, False)


def test_file_has_no_name_that_a_kill_could_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool.tempfile, "tempdir", str(tmp_path))
    spooled = Spool(Task, TASKS)
    assert list(spooled) == TASKS and list(tmp_path.iterdir()) == []
    rows = iter(spooled)
    del spooled
    gc.collect()
    assert list(rows) == TASKS


def test_full_disk_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with suppress(OSError), Path("/dev/full").open("w") as full:  # which closing it raises again
        monkeypatch.setattr(spool.tempfile, "TemporaryFile", lambda *_, **__: full)
        with pytest.raises(DataError, match=r"^/.*: cannot write a temporary file: No space left on device; set TMPDIR"):
            list(Spool(Task, TASKS))


def test_missing_temporary_folder_ends_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool.tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"gone: cannot write a temporary file: No such file or directory; set TMPDIR"):
        Spool(Task)


def test_limit_of_open_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(spool.tempfile, "TemporaryFile", refuse)
    with pytest.raises(
        DataError, match=r"cannot write a temporary file: Too many open files; raise the limit with `ulimit -n`"
    ):
        Spool(Task)


def test_again_begins_at_each_iteration() -> None:
    rows = Again(lambda: iter(TASKS))
    assert list(rows) == list(rows) == TASKS

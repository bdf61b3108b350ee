"""Records: an id is a hash of the content; a file is read or refused with its line, and written completely or not."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages import files, records
from stages.errors import DataError
from stages.records import Document, Message, Record, Score, Task

TASK = Task(kind="text", input="Wo ist mein Päckchen? 你好", output="Unterwegs.", source="row-1", parents=("doc-1",))


def test_id_depends_on_all_content() -> None:
    assert Task(**TASK.model_dump(exclude={"id"})).id == TASK.id
    changes = [
        {"kind": "extraction"},
        {"input": TASK.input + " "},
        {"output": ""},
        {"source": "row-2"},
        {"slices": ("noise",)},
        {"parents": ()},
        {"history": (Message(role="user", content="x"),)},
    ]
    ids = {Task(**TASK.model_dump(exclude={"id"}) | change).id for change in changes}
    assert len(ids - {TASK.id}) == len(changes)


def test_id_names_the_kind_and_ignores_the_order_of_keys() -> None:
    one = Score(example="e", system="s", source="l", scores={"a": 0.5, "b": 1.0})
    other = Score(example="e", system="s", source="l", scores={"b": 1.0, "a": 0.5})
    assert one.id == other.id
    assert (one.id.split("-")[0], TASK.id.split("-")[0]) == ("score", "task")


def test_ids_are_stable_across_versions() -> None:
    assert Document(text="Too late.", kind="body", source="train.txt:1").id == "doc-580eb66b5b25f54d"


def test_records_are_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "tasks.jsonl"
    odd = TASK.model_copy(update={"input": 'line\nend\r\n "quoted" \u2028\u2029\x85 \t \\', "id": ""})
    tasks = [TASK, Task(**odd.model_dump())]
    records.write(path, tasks)
    assert list(records.read(path, Task)) == tasks
    assert "你好" in path.read_text(encoding="utf-8")


def test_unicode_separators_do_not_break_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes('{"a": "\u2028 \u2029 \x85 \x0b \x0c"}\n{"b": 1}\n'.encode())
    assert len(list(files.lines(path))) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", ["", "end"])
def test_line_ends_and_byte_order_mark_do_not_matter(tmp_path: Path, end: str, mark: str, last: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes((mark + end.join([TASK.model_dump_json()] * 2) + (end if last else "")).encode())
    assert list(records.read(path, Task)) == [TASK, TASK]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (TASK.model_dump_json().replace("Unterwegs", "Verloren"), "the record was edited"),
        (TASK.model_dump_json()[:-5], "Invalid JSON"),
        ("", "Invalid JSON"),
        ("[]", "object"),
        (json.dumps({"kind": "text", "output": "x"}), "source: Field required"),
        (json.dumps({"kind": "poem", "output": "x", "source": "s"}), "kind: Input should be"),
        (json.dumps({"kind": "text", "output": 5, "source": "s"}), "output: Input should be a valid string"),
        (json.dumps({"kind": "text", "output": "x", "source": "s", "more": 1}), "more: Extra inputs"),
    ],
)
def test_bad_line_is_refused_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(f"{TASK.model_dump_json()}\n{line}\n{TASK.model_dump_json()}\n", encoding="utf-8")
    with pytest.raises(DataError) as refused:
        list(records.read(path, Task))
    assert str(refused.value).startswith(f"{path}:2: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl: no such file"):
        list(records.read(tmp_path / "gone.jsonl", Task))


@pytest.mark.parametrize("before", [0, 30_000])
def test_line_that_is_not_utf_8_is_named(tmp_path: Path, before: int) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"abc\n" * before + "Grüße\n".encode("latin-1"))
    with pytest.raises(DataError, match=rf"x\.txt:{before + 1}: not UTF-8"):
        list(files.lines(path))


def test_failing_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    records.write(path, [TASK])

    def breaking() -> Iterator[Record]:
        yield Task(kind="text", output="new", source="s")
        raise DataError("row 2 is bad")

    with pytest.raises(DataError, match="row 2 is bad"):
        records.write(path, breaking())
    assert list(records.read(path, Task)) == [TASK]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("write", "content"), [(files.write_text, "a?"), (files.write_json, '"a\\ud83d"\n')])
def test_half_a_pair_is_written_as_something_else(tmp_path: Path, write: Callable[[Path, str], None], content: str) -> None:
    """A file's name can be such a text; rows that hold one are refused where they are read."""
    write(tmp_path / "x.json", "a\ud83d")
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == content
    assert list(tmp_path.iterdir()) == [tmp_path / "x.json"]


def test_new_version_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, {"long": "x" * 1000})
    files.write_json(path, {"ä": None})
    assert path.read_bytes() == '{\n  "ä": null\n}\n'.encode()
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_ends_with_one_line_and_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("old\n", encoding="utf-8")
    program = (
        "from pathlib import Path; from stages import files, stage\n"
        "stage.run(lambda: files.write_json(Path('x.json'), 'x' * 100_000))\n"
    )
    limited = ["bash", "-c", 'ulimit -f 8 && exec "$0" -c "$1"', sys.executable, program]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(limited, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.stderr.splitlines() == ["error: x.json: cannot write: File too large"]
    assert run.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == "old\n"


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises((DataError, OSError), match="file"):
        files.write_text(tmp_path / "file" / "x.json", "x")

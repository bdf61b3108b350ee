"""Pairs from a file: the forms of TRL, columns by their names, and a clear line for each mistake."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.errors import DataError
from stages.preferences import file, making
from stages.records import Example, Message

ASK, GOOD, BAD = (
    {"role": role, "content": text} for role, text in (("user", "Where?"), ("assistant", "Ulm."), ("assistant", "Rio."))
)
ROW = {"prompt": "Where?", "chosen": "Ulm.", "rejected": "Rio."}


def written(folder: Path, *rows: Any, name: str = "pairs.jsonl") -> Path:
    (folder / name).write_text(
        "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8"
    )
    return folder / name


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        {"question": "Where?", "Preferred": "Ulm.", "dispreferred": "Rio."},
        {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"prompt": "Where?", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"prompt": [ASK], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
    ],
)
def test_every_form_gives_the_same_pair(tmp_path, row) -> None:
    found = file.made(written(tmp_path, "", row), [])
    (pair,), (verdict,) = found.pairs, found.verdicts
    assert (pair.prompt, pair.chosen, pair.rejected) == ((Message(role="user", content="Where?"),), "Ulm.", "Rio.")
    assert (pair.source, pair.chosen_from, pair.chosen_score, pair.parents) == ("file", "file", None, (verdict.id,))
    assert verdict.place == f"{tmp_path}/pairs.jsonl:2"


def test_table_is_read_by_its_header(tmp_path) -> None:
    path = written(tmp_path, "rejected,system,prompt,chosen", '"Rio, I think.",Be brief.,Where?,Ulm.', name="pairs.csv")
    (pair,) = file.made(path, []).pairs
    assert [message.role for message in pair.prompt] == ["system", "user"]
    assert (pair.chosen, pair.rejected) == ("Ulm.", "Rio, I think.")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "rejected": "b"}, "no column chosen; name the column with the better answer chosen or preferred"),
        (ROW | {"score": 1}, "the column 'score' is unknown; delete it, or name it one of prompt,"),
        (ROW | {"question": "x"}, "two columns are read as prompt"),
        (ROW | {"chosen": " "}, "chosen is empty; write an answer or delete the row"),
        (ROW | {"chosen": "Rio."}, "chosen and rejected are equal, so the row prefers nothing; delete it"),
        ({"chosen": "a", "rejected": "b"}, "no text in prompt, which answers as text need"),
        (ROW | {"chosen": [GOOD]}, "chosen and rejected are a list and text; both must be texts, or lists of messages"),
        ({"chosen": [ASK, GOOD], "rejected": [GOOD, BAD]}, "chosen and rejected differ before their last message"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "give the prompt in the column prompt, or as the beginning"),
        ({"prompt": "x", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]}, "prompt is not what chosen and rejected begin with"),
        (
            {"chosen": [ASK, ASK], "rejected": [ASK, BAD]},
            "the last message of chosen and rejected must have the role assistant",
        ),
        ({"prompt": [GOOD], "chosen": [GOOD], "rejected": [BAD]}, "the prompt ends with a message of assistant"),
        ({"chosen": [ASK | {"x": 1}, GOOD], "rejected": [ASK, BAD]}, "chosen: 0.x: .*; a message has role and content"),
        ("[1]", "a list and not an object with chosen and rejected"),
        ("{'chosen': 1}", "not JSON: .* at column 2; write keys and texts in double quotes"),
        *((ROW | {name: "x\ud83d"}, f"'{name}' holds .* half of a surrogate pair, which is not text") for name in ROW),
        ({"chosen": [ASK | {"content": "\0"}, GOOD], "rejected": [ASK, BAD]}, r"'chosen' holds \\u0000 or half"),
    ],
)
def test_mistake_is_one_line_with_file_and_line(tmp_path, row, message) -> None:
    path = written(tmp_path, ROW, row)
    with pytest.raises(DataError, match=f"^{path}:2: {message}") as caught:
        file.made(path, [])
    assert "\n" not in str(caught.value)


def test_table_without_chosen_is_refused_at_its_header(tmp_path) -> None:
    path = written(tmp_path, "prompt,rejected", "a,b", name="pairs.csv")
    with pytest.raises(DataError, match=f"^{path}:1: no column chosen"):
        file.made(path, [])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pairs.jsonl", b"", "the file is empty; give one with rows"),
        ("pairs.csv", b"prompt,chosen,rejected\n", "the file is empty; name one with the columns chosen and rejected"),
        ("pairs.parquet", b"PAR1\x15\x04", "the file is Parquet; save the rows as CSV UTF-8, JSON or JSONL"),
        ("pairs.jsonl.gz", b"\x1f\x8b\x08\0", "the file is compressed with gzip; unpack it"),
    ],
)
def test_empty_file_or_other_form_is_refused(tmp_path, name, content, message) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"^{tmp_path / name}: {message}"):
        file.made(tmp_path / name, [])


def test_list_in_json_is_read_like_lines(tmp_path) -> None:
    found = file.made(written(tmp_path, [ROW, ROW | {"prompt": "When?"}], name="pairs.json"), [])
    assert [pair.prompt[-1].content for pair in found.pairs] == ["Where?", "When?"]
    with pytest.raises(DataError, match=r"pairs.json: row 2: no column chosen"):
        file.made(written(tmp_path, [ROW, {"prompt": "a", "rejected": "b"}], name="pairs.json"), [])


def test_question_of_a_validation_or_test_row_is_dropped_and_counted(tmp_path) -> None:
    messages = (Message(role="user", content="where?"), Message(role="assistant", content="Ulm."))
    found = file.made(written(tmp_path, ROW, ROW | {"prompt": "When?"}), [Example(kind="text", messages=messages, source="x")])
    assert [pair.prompt[-1].content for pair in found.pairs] == ["When?"]
    assert (found.candidates, found.dropped) == (2, {file.APART: 1})
    assert file.APART in making.REMEDIES

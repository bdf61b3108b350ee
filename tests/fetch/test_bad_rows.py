"""A user's own file: which values are refused, and the message."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.errors import DataError
from tests.fixtures.own_rows import ASKED, CHAT, GROUPED, read, save


def turns(*pairs: tuple[str, Any]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in pairs]}) + "\n"


OK = '{"input": "a", "output": "b"}\n'


EXTRACTION = {"task": "extraction"}


BAD_FILES: list[tuple[str, str, str | bytes, dict[str, str], dict[str, Any], str, str]] = [
    # what is wrong, file, content, columns, other settings, place, hint
    ("another suffix", "mine.xlsx", b"PK", ASKED, {}, "mine.xlsx: ", ".csv, .tsv, .json (a list of objects) or .jsonl"),
    ("empty", "mine.csv", "", ASKED, {}, "mine.csv: ", "the file is empty"),
    ("only blank lines", "mine.jsonl", "\ufeff\r\n\r\n", ASKED, {}, "mine.jsonl: ", "the file is empty"),
    ("only blank cells", "mine.csv", ",,\n", ASKED, {}, "mine.csv: ", "no column 'input'"),
    ("blank JSON", "mine.json", " \n", ASKED, {}, "mine.json: ", "the file is empty"),
    ("only a header", "mine.csv", "input,output\n", ASKED, {}, "mine.csv: ", "only a header"),
    ("empty list", "mine.json", "[]", ASKED, {}, "mine.json: ", "an empty list"),
    (
        "Latin-1",
        "mine.csv",
        "input,output\na,b\nä,b\n".encode("latin-1"),
        ASKED,
        {},
        "mine.csv:3: not UTF-8",
        "save the file as UTF-8",
    ),
    (
        "UTF-16",
        "mine.csv",
        "input,output\na,b\n".encode("utf-16"),
        ASKED,
        {},
        "mine.csv: the file is UTF-16",
        "Excel: CSV UTF-8",
    ),
    ("NUL byte", "mine.jsonl", OK + "\0\n", ASKED, {}, "mine.jsonl:2: ", "a NUL byte"),
    (
        "column missing",
        "mine.csv",
        "Question,Output\na,b\n",
        ASKED,
        {},
        "mine.csv:1: ",
        "no column 'input'; There are 'Question', 'Output'",
    ),
    ("column misspelt", "mine.csv", "input,Outptu\na,b\n", ASKED, {}, "mine.csv:1: ", "did you mean 'Outptu'?"),
    ("column twice", "mine.csv", "input,output,input\na,b,c\n", ASKED, {}, "mine.csv:1: ", "'input' occurs more than once"),
    ("too many cells", "mine.csv", "input,output\na,b\n\na,b,c\n", ASKED, {}, "mine.csv:4: ", "3 cells, but the header has 2"),
    ("too few cells", "mine.csv", 'input,output\n"a\nb",c\na\n', ASKED, {}, "mine.csv:4: ", "1 cells, but the header has 2"),
    ("quote left open", "mine.csv", 'input,output\na,b\n"a,b\nc,d\n', ASKED, {}, "mine.csv:3: not CSV", "close each"),
    ("blank output", "mine.csv", 'input,output\r\n"a\r\nb",c\r\na,  \r\n', ASKED, {}, "mine.csv:4: ", "'output' is empty"),
    ("nothing asked", "mine.csv", "input,output\n ,b\n", ASKED, {}, "mine.csv:2: ", "no question, 'input' empty"),
    ("not JSON", "mine.jsonl", OK + "\n{oops}\n", ASKED, {}, "mine.jsonl:3: not JSON", "each line must be one object"),
    ("NaN", "mine.jsonl", '{"input": "a", "output": NaN}\n', ASKED, {}, "mine.jsonl:1: not JSON", "NaN is not a JSON value"),
    ("too deep", "mine.jsonl", "[" * 100_000, ASKED, {}, "mine.jsonl:1: not JSON", "nested too deeply"),
    (
        "list in a line",
        "mine.jsonl",
        OK + "[1]\n",
        ASKED,
        {},
        "mine.jsonl:2: ",
        'an object like {"input": "…", "output": "…"}, got a list',
    ),
    ("JSON broken", "mine.json", f"[\n{OK.strip()},\n}}", ASKED, {}, "mine.json:3: not JSON", "at column 1"),
    ("JSONL called JSON", "mine.json", OK + OK, ASKED, {}, "mine.json:2: not JSON", ".jsonl"),
    ("object on top", "mine.json", '{"data": []}', ASKED, {}, "mine.json: ", "a list of objects, got an object"),
    ("text in the list", "mine.json", f'[{OK}, "b"]', ASKED, {}, "mine.json: row 2: ", "got text"),
    (
        "no output",
        "mine.json",
        f'[{OK}, {{"input": "a", "answer": "b"}}]',
        ASKED,
        {},
        "mine.json: row 2: ",
        "no column 'output'",
    ),
    ("null output", "mine.jsonl", '{"input": "a", "output": null}', ASKED, {}, "mine.jsonl:1: ", "'output' is empty"),
    (
        "number asked",
        "mine.json",
        '[{"input": 7, "output": "b"}]',
        ASKED,
        {},
        "mine.json: row 1: 'input'",
        "got a number; quote it",
    ),
    ("number answered", "mine.jsonl", '{"input": "a", "output": 7.10}', ASKED, {}, "mine.jsonl:1: 'output'", "quote it"),
    (
        "object for text",
        "mine.jsonl",
        '{"input": "a", "output": {}}',
        ASKED,
        {},
        "mine.jsonl:1: 'output'",
        "must be text, got an object",
    ),
    (
        "half a character",
        "mine.jsonl",
        '{"input": "\\ud83d", "output": "b"}',
        ASKED,
        {},
        "mine.jsonl:1: 'input'",
        "surrogate pair",
    ),
    ("never there", "mine.jsonl", OK, {**ASKED, "instruction": "inptu"}, {}, "mine.jsonl: ", "did you mean 'input'?"),
    (
        "no JSON extracted",
        "mine.csv",
        "input,output\na,b\n",
        ASKED,
        EXTRACTION,
        "mine.csv:2: 'output'",
        "must be a JSON object",
    ),
    (
        "list extracted",
        "mine.jsonl",
        '{"input": "a", "output": [1]}',
        ASKED,
        EXTRACTION,
        "mine.jsonl:1: 'output'",
        "got a list",
    ),
    (
        "infinity in text",
        "mine.jsonl",
        '{"input": "a", "output": "{\\"a\\": 1e999}"}',
        ASKED,
        EXTRACTION,
        "mine.jsonl:1: 'output'",
        "JSON object",
    ),
    (
        "half a pair escaped in text",
        "mine.jsonl",
        '{"input": "a", "output": "{\\"\\\\ud83d\\": 1}"}',
        ASKED,
        EXTRACTION,
        "mine.jsonl:1: 'output'",
        "surrogate pair",
    ),
    (
        "no number in JSON",
        "mine.jsonl",
        '{"input": "a", "output": {"a": 1e999}}',
        ASKED,
        EXTRACTION,
        "mine.jsonl:1: ",
        "the number 1e999 is too large to be kept",
    ),
    (
        "key twice",
        "mine.jsonl",
        '{"input": "a", "output": "one", "output": "two"}',
        ASKED,
        EXTRACTION,
        "mine.jsonl:1: not JSON: ",
        "the key 'output' occurs twice in an object",
    ),
    (
        "blank group",
        "mine.csv",
        "who,input,output\nx,a,b\n ,a,b\n",
        GROUPED,
        {},
        "mine.csv:3: 'who'",
        "data.columns.group to null",
    ),
    ("group missing", "mine.jsonl", OK, GROUPED, {}, "mine.jsonl:1: ", "no column 'who'"),
    ("messages as text", "mine.csv", "messages\nHello\n", CHAT, {}, "mine.csv:2: 'messages' is not JSON", '[{"role": "user"'),
    ("messages an object", "mine.jsonl", '{"messages": {}}', CHAT, {}, "mine.jsonl:1: 'messages'", "got an object"),
    ("no turns", "mine.jsonl", '{"messages": []}', CHAT, {}, "mine.jsonl:1: 'messages'", "must end with an assistant turn"),
    ("turn is text", "mine.jsonl", '{"messages": ["a"]}', CHAT, {}, "mine.jsonl:1: 'messages'", 'a list like [{"role"'),
    ("no role", "mine.jsonl", '{"messages": [{"content": "a"}]}', CHAT, {}, "mine.jsonl:1: messages[1].role", "must be 'user'"),
    (
        "user twice",
        "mine.jsonl",
        turns(("user", "a"), ("user", "b")),
        CHAT,
        {},
        "mine.jsonl:1: messages[2].role",
        "must be 'assistant'",
    ),
    (
        "late system",
        "mine.jsonl",
        turns(("user", "a"), ("system", "b")),
        CHAT,
        {},
        "mine.jsonl:1: messages[2].role",
        "got 'system'",
    ),
    (
        "ends with user",
        "mine.jsonl",
        turns(("system", "s"), ("user", "a")),
        CHAT,
        {},
        "mine.jsonl:1: ",
        "must end with an assistant turn",
    ),
    (
        "blank turn",
        "mine.jsonl",
        turns(("user", " "), ("assistant", "b")),
        CHAT,
        {},
        "mine.jsonl:1: messages[1].content",
        "is empty",
    ),
    (
        "number as a turn",
        "mine.jsonl",
        turns(("user", 7), ("assistant", "b")),
        CHAT,
        {},
        "mine.jsonl:1: 'messages[1].content'",
        "quote it",
    ),
    (
        "nothing to test",
        "mine.csv",
        "input,output\na,b\nA,c\n",
        ASKED,
        {"test": 1e-9},
        "mine.csv: test is 1e-09",
        "2 rows with 1 different prompts",
    ),
    (
        "nothing to train",
        "mine.jsonl",
        OK,
        ASKED,
        {"test": 0.999999999},
        "mine.jsonl: train is 1e-09",
        "add rows or change data.valid, data.test",
    ),
]


@pytest.mark.parametrize(
    ("name", "content", "columns", "changes", "place", "hint"),
    [case[1:] for case in BAD_FILES],
    ids=[case[0] for case in BAD_FILES],
)
def test_bad_row_is_refused_with_place_and_hint(
    tmp_path: Path, name: str, content: str | bytes, columns: dict[str, str], changes: dict[str, Any], place: str, hint: str
) -> None:
    path = save(tmp_path, name, content)
    with pytest.raises(DataError) as refusal:
        read(path, columns, **changes)
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path}/{place}")
    assert hint in message
    assert "\n" not in message


@pytest.mark.parametrize("form", ["list", "object"])
@pytest.mark.parametrize("kind", ["text", "value", "options", "messages"])
def test_nested_value_is_refused_at_any_depth(tmp_path: Path, kind: str, form: str) -> None:
    """Near Python's limit of 1,000, a value can be read in one place and not be written in another."""
    for levels in (101, 400, *range(880, 1000)):
        deep = "[" * levels + "]" * levels if form == "list" else '{"a": ' * levels + "1" + "}" * levels
        output = f'{{"a": {deep}}}'
        row, columns, changes = {"input": '"a"', "output": output}, ASKED, EXTRACTION
        if kind == "text":
            row["output"] = json.dumps(output)
        elif kind == "messages":
            row, columns, changes = {"messages": json.dumps(deep)}, CHAT, {}
        elif kind == "options":
            row |= {"output": '"A"', "options": json.dumps(f'{{"A": "x", "B": {deep}}}')}
            columns, changes = {**ASKED, "options": "options"}, {"task": "choice"}
        path = save(tmp_path, "mine.jsonl", "{" + ", ".join(f'"{name}": {value}' for name, value in row.items()) + "}\n")
        with pytest.raises(DataError, match=r"^.*mine\.jsonl:1: [^\n]*(nested too deeply|must be a JSON object)[^\n]*$"):
            read(path, columns, **changes)


@pytest.mark.parametrize("levels", [1, 90])
def test_value_of_usual_depth_is_read(tmp_path: Path, levels: int) -> None:
    output = {"a": json.loads("[" * levels + "]" * levels)}
    (task,) = read(save(tmp_path, "mine.jsonl", json.dumps({"input": "a", "output": output})), **EXTRACTION)
    assert json.loads(task.output) == output


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file; set data\.path"):
        read(tmp_path / "nowhere.csv")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(DataError, match=r"folder\.json: cannot read: Is a directory"):
        read(tmp_path / "folder.json")

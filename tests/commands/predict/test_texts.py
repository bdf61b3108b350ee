"""What tunetrail predict asks: texts, tables and JSON, recognised by content, with the run's columns, or refused by name."""

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from stages.commands.predict import texts
from stages.errors import DataError
from stages.params import Data, DocumentsData, FolderDocuments
from tests.fixtures.own_rows import settings

FOLDER = FolderDocuments(source="folder")
SYSTEM = "Answer."
# Not rows: without data.columns, so that `input` is the text.
PLAIN = DocumentsData(
    kind="documents",
    path="x",
    documents=FOLDER,
    include="*",
    subject=None,
    system=SYSTEM,
    decline="Not known.",
    out_of_domain=None,
)


def rows_data(columns: dict[str, str] | str, **changes: Any) -> Data:
    return settings(Path("mine.csv"), columns, system=SYSTEM, **changes)


QUESTIONS = rows_data({"input": "question", "output": "answer"})
CHATS = rows_data({"messages": "messages"})
QUIZ = rows_data({"input": "question", "options": "choices", "output": "answer"}, task="choice")
CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
ANSWERED = [*CHAT, {"role": "assistant", "content": "Hello"}]


@pytest.fixture(autouse=True)
def _room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def asked(name: str, content: str | bytes, data: Data = PLAIN) -> list[tuple[str, dict[str, Any]]]:
    """Return the text and the kept columns of each row."""
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(found.task.input, dict(found.row)) for found in texts.read(name, data)]


TABLE = 'id,input\n007,"Which shelf, please, holds\nbox 7?"\n'
ROW = ("Which shelf, please, holds\nbox 7?", {"id": "007", "input": "Which shelf, please, holds\nbox 7?"})
OBJECT = {"id": 7, "input": "a", "tags": ["x"], "note": None}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", TABLE, ROW),
        ("a.CSV", "\ufeff" + TABLE.replace("\n", "\r\n"), ROW),
        ("a.tsv", TABLE.replace(",input", "\tinput").replace("007,", "007\t"), ROW),
        ("tabs.csv", "id\tinput\n7\tone, two\n", ("one, two", {"id": "7", "input": "one, two"})),
        ("table", TABLE, ROW),
        ("index", ",input\n0,x\n", ("x", {"": "0", "input": "x"})),
        ("quoted", '"id","input"\n"7","x"\n', ("x", {"id": "7", "input": "x"})),
        ("old.csv", "id,input\r7,x\r", ("x", {"id": "7", "input": "x"})),
        ("old", "id,input\r7,x\r", ("x", {"id": "7", "input": "x"})),
        ("wrong.jsonl", TABLE, ROW),
        ("a.json", json.dumps([OBJECT]), ("a", OBJECT)),
        ("a.json", json.dumps([OBJECT], indent=2), ("a", OBJECT)),
        ("lines.json", json.dumps(OBJECT) + "\n", ("a", OBJECT)),
        ("a.jsonl", "\n" + json.dumps(OBJECT) + "\n", ("a", OBJECT)),
        ("list.jsonl", json.dumps([OBJECT]), ("a", OBJECT)),
        ("wrong.csv", json.dumps(OBJECT) + "\n", ("a", OBJECT)),
        ("a.ndjson", json.dumps(OBJECT) + "\n", ("a", OBJECT)),
        ("objects", json.dumps(OBJECT) + "\n", ("a", OBJECT)),
        ("a.txt", "a line\n\n", ("a line", {"input": "a line"})),
        ("a.txt", "a line\r", ("a line", {"input": "a line"})),
        ("texts", "a line\r\n", ("a line", {"input": "a line"})),
    ],
)
def test_form_is_told_by_content(name: str, content: str, expected: tuple[str, dict[str, Any]]) -> None:
    assert asked(name, content) == [expected]


@pytest.mark.parametrize(
    "line", ["{name} asks", "[note] call", "[[link]]", "input, please", "input; yes", "a,b", '"quoted"', "-", "x" * 200_000]
)
def test_text_that_resembles_another_form_is_a_text(line: str) -> None:
    assert asked("texts", line + "\nnext\n") == [(line, {"input": line}), ("next", {"input": "next"})]


@pytest.mark.parametrize(
    "line",
    [
        '{"input": "x", "system": "Obey."}',
        '{"input": 3}',
        '{"input": "\\ud83d"}',
        '{"a": 1e999}',
        '[{"input": "x"}]',
        "null",
        "{{ 7 * 7 }}",
        "[/b]",
        "id,input",
        "input",
        "<html>",
        "<?xml?>",
        "Par1 lamp",
        "bzh 91",
        "{",
        '"a',
    ],
)
def test_line_of_a_txt_is_always_a_text(line: str) -> None:
    assert asked("texts.TXT", line + "\nnext\n") == [(line, {"input": line}), ("next", {"input": "next"})]
    assert {found.task.system for found in texts.read("texts.TXT", PLAIN)} == {SYSTEM}


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.json", "a.jsonl", "a.tsv", "a"])
@pytest.mark.parametrize("content", ["", " \n\n", "\ufeff"])
def test_empty_file_asks_nothing(name: str, content: str) -> None:
    assert asked(name, content) == []


@pytest.mark.parametrize(("name", "content"), [("a.csv", "id,input\n"), ("a.json", "[]"), ("a.json", "[ \n]\n")])
def test_file_without_rows_asks_nothing(name: str, content: str) -> None:
    assert asked(name, content) == []


def workbook() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", workbook(), r"^a\.xlsx: the file is a zip archive, as \.xlsx and \.docx are; save the rows as CSV"),
        ("a.csv", workbook(), r"^a\.csv: the file is a zip archive"),
        ("a.csv.gz", gzip.compress(TABLE.encode(), mtime=0), r"^a\.csv\.gz: the file is compressed with gzip; unpack it"),
        ("a.parquet", b"PAR1\0", r"^a\.parquet: the file is Parquet"),
        ("a.pdf", b"%PDF-1.7\n", r"^a\.pdf: the file is a PDF"),
        ("a.html", b"<!DOCTYPE html>\n<p>x", r"^a\.html: the file is a web page"),
        ("a.txt", "Grüße\n".encode("utf-16"), r"^a\.txt: the file is UTF-16"),
        ("a.txt", "Grüße\n".encode("latin-1"), r"^a\.txt:1: not UTF-8"),
        ("a.txt", b"a\0b\n", r"^a\.txt:1: a NUL byte"),
        ("a.yaml", "- input: x\n", r"^a\.yaml: not known what it holds; save it as a table \(\.csv, \.tsv\), JSON"),
        ("a.md", "# Title\n", r"^a\.md: not known what it holds"),
        ("a.log", "a line\n", r"^a\.log: not known what it holds"),
        ("a.csv", "id;input\n7;x\n", r"^a\.csv:1: separated by ';'; save it with commas"),
        ("table", "id;input\n7;x\n", r"^table:1: separated by ';'; save it with commas"),
        ("table", "id|input\n7|x\n", r"^table:1: separated by '\|'; save it with commas"),
        ("a.csv", "id,text\n7,x\n", r"^a\.csv:1: no column 'input'; There are 'id', 'text'; rename it in the file$"),
        ("a.csv", "id,Input\n7,x\n", r"^a\.csv:1: no column 'input'; did you mean 'Input'\?"),
        ("a.csv", "a line\n", r"^a\.csv:1: no column 'input'"),
        ("a.csv", "id,input,id\n7,x,8\n", r"^a\.csv:1: column 'id' occurs more than once; rename one"),
        ("a.csv", "id,input\n7,x,y\n", r"^a\.csv:2: 3 cells, but the header has 2"),
        ("a.csv", "id,input\n7,\n", r"^a\.csv:2: asks nothing, .*'input' empty; fill in or delete the row"),
        ("a.csv", TABLE + TABLE, r"^a\.csv:4: the header again"),
        ("a.json", '{"input": "x", \n"id": 7}', r"^a\.json: must hold a list of objects, got an object"),
        ("a.json", '{"rows": [{"input": "x"}]}', r"^a\.json:1: no column 'input'; There are 'rows'"),
        ("a.json", '{"input": {"0": "x"}}', r"^a\.json:1: 'input' must be text, got an object"),
        ("a.jsonl", '{"input": "x"}{"input": "y"}\n', r"^a\.jsonl:1: not JSON: Extra data at column 15"),
        ("a.jsonl", '{"input": "x"},\n', r"^a\.jsonl:1: not JSON: Extra data"),
        ("a.jsonl", '{"custom_id": "1", "body": {}}\n', r"^a\.jsonl:1: no column 'input'; There are 'custom_id'"),
        ("a.jsonl", '{"input": "x", "n": ' + "9" * 5000 + "}", r"^a\.jsonl:1: not JSON: Exceeds the limit"),
        ("a.jsonl", '{"input": "x", "n": ' + "[" * 500 + "]" * 500 + "}", r"^a\.jsonl:1: not JSON: nested too deeply"),
        ("a.json", '["x"]', r"^a\.json: row 1: must be an object .* got text"),
        ("a.json", '[{"input": "x"}', r"^a\.json:1: not JSON: the list does not end"),
        ("a.jsonl", '{"input": "x"}\na line\n', r"^a\.jsonl:2: not JSON: .*; each line must be one object"),
        ("a.jsonl", '{"input": "x\n', r"^a\.jsonl:1: not JSON: "),
        ("a.jsonl", "a line\n", r"^a\.jsonl:1: not JSON: "),
        ("a.jsonl", '{"text": "x"}\n', r"^a\.jsonl:1: no column 'input'; There are 'text'"),
        ("a.jsonl", '{"input": 3}\n', r"^a\.jsonl:1: 'input' must be text, got a number; quote it"),
        ("a.jsonl", '{"input": "a", "system": ["b"]}\n', r"^a\.jsonl:1: 'system' must be text, got a list"),
        ("a.jsonl", '{"input": "a \\ud83d b"}\n', r"^a\.jsonl:1: holds half of an escaped pair such as \\ud83d"),
        ("a.jsonl", '{"input": "a", "id": "\\ud83d"}\n', r"^a\.jsonl:1: holds half of an escaped pair"),
        ("a.jsonl", '{"input": "a", "n": 1e999}\n', r"^a\.jsonl:1: not JSON: the number 1e999 is too large"),
        ("a.jsonl", '{"input": "a", "n": NaN}\n', r"^a\.jsonl:1: not JSON: NaN"),
        ("objects", '{"input": "x"}\na line\n', r"^objects:2: not JSON: "),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        asked(name, content)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_column_that_answers_need_is_refused(name: str) -> None:
    content = '{"input": "x", "prediction": "y"}\n' if name == "a.jsonl" else "input,prediction\nx,y\n"
    Path(name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=rf"^{name}:\d: a column 'prediction', which the output has for answers; rename it"):
        list(texts.read(name, PLAIN, ["prediction"]))


def tasks(content: str, data: Data, name: str = "a.jsonl") -> list[Any]:
    Path(name).write_text(content, encoding="utf-8")
    return [found.task for found in texts.read(name, data)]


def test_columns_are_those_of_the_run() -> None:
    (task,) = tasks('{"question": "Who?", "input": "not read", "answer": "x"}\n', QUESTIONS)
    assert (task.system, task.instruction, task.input, task.output) == (SYSTEM, "", "Who?", "")
    with pytest.raises(DataError, match=r"^a\.jsonl: no column 'question'|^a\.jsonl:1: no column 'question'"):
        tasks('{"input": "Who?"}\n', QUESTIONS)
    assert asked("b.csv", "id,question\n7,Who?\n", QUESTIONS) == [("Who?", {"id": "7", "question": "Who?"})]


def test_named_columns_of_a_prompt_are_needed() -> None:
    data = rows_data({"instruction": "task", "input": "text", "system": "role", "output": "answer"})
    row = {"task": "Translate.", "text": "你好", "role": "Be brief."}
    (task,) = tasks(json.dumps(row) + "\n", data)
    assert (task.system, task.instruction, task.input) == ("Be brief.", "Translate.", "你好")
    with pytest.raises(DataError, match=r"^a\.jsonl: no column 'role'; did you mean 'rol'\?"):
        tasks(json.dumps({"task": "Translate.", "text": "你好", "rol": "Be brief."}) + "\n", data)
    _, second = tasks(f"{json.dumps(row)}\n{json.dumps({'task': 'Greet.', 'role': None})}\n", data)
    assert (second.system, second.instruction, second.input) == (SYSTEM, "Greet.", "")


def test_recognised_columns_are_read() -> None:
    data = rows_data("auto")
    with pytest.raises(DataError, match=r"^data/raw/columns\.json: no such file, and data\.columns is auto; run `dvc repro"):
        tasks('{"prompt": "Who?"}\n', data)
    texts.RECOGNISED.parent.mkdir(parents=True)
    recognised = {"shape": "prompt/completion", "columns": {"input": "prompt", "output": "completion"}, "further": []}
    texts.RECOGNISED.write_text(json.dumps(recognised), encoding="utf-8")
    assert [task.input for task in tasks('{"prompt": "Who?"}\n', data)] == ["Who?"]


@pytest.mark.parametrize("turns", [CHAT, ANSWERED], ids=["open", "answered"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_last_user_turn_of_a_chat_is_asked(name: str, turns: list[dict[str, str]]) -> None:
    earlier = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]
    chat = json.dumps([turns[0], *earlier, *turns[1:]])
    quoted = chat.replace('"', '""')
    content = f'{{"messages": {chat}}}\n' if name == "a.jsonl" else f'messages\n"{quoted}"\n'
    (task,) = tasks(content, CHATS, name)
    assert (task.system, [turn.content for turn in task.history], task.input) == ("Be kind.", ["1", "2"], "Hi")


def test_chat_that_called_a_tool_asks_for_the_next_turn() -> None:
    tools = [{"type": "function", "function": {"name": "find", "parameters": {}}}]
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "find", "arguments": "{}"}}]}
    chat = [{"role": "developer", "content": "Be kind."}, *CHAT[1:], call, {"role": "tool", "content": "shelf 3"}]
    row = {"messages": chat, "functions": tools}
    (task,) = tasks(json.dumps(row) + "\n", rows_data({"messages": "messages", "tools": "functions"}))
    assert [turn.role for turn in task.history] == ["developer", "user", "assistant", "tool"]
    assert (task.system, task.input, json.loads(task.tools)) == ("", "", tools)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": []}, "'messages' asks nothing; it needs a turn of the user"),
        ({"messages": CHAT[:1]}, "'messages' asks nothing"),
        ({"messages": "Hi"}, "'messages' is not JSON"),
        ({"input": "Hi"}, "no column 'messages'"),
        ({"messages": CHAT[1:] * 2}, r"messages\[2\].role must be 'assistant'"),
    ],
)
def test_chat_that_asks_nothing_is_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"^a\.jsonl:1: {message}"):
        tasks(json.dumps(row) + "\n", CHATS)


@pytest.mark.parametrize(
    "options", [{"A": "red", "B": "blue"}, ["red", "blue"], {"text": ["red", "blue"], "label": ["A", "B"]}]
)
def test_options_are_asked_as_in_training(options: Any) -> None:
    (task,) = tasks(json.dumps({"question": "Which?", "choices": options}) + "\n", QUIZ)
    assert task.input == "Which?\n\nOptions:\nA. red\nB. blue\n\nPlease choose the correct answer."


def test_question_without_its_options_is_refused() -> None:
    with pytest.raises(DataError, match=r"^a\.jsonl:1: no column 'choices'"):
        tasks('{"question": "Which?"}\n', QUIZ)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TABLE, [ROW[0]]),
        ('{"input": "x"}\n{"input": "y"}\n', ["x", "y"]),
        ("x\n\n" + '{"input": "y"}\n', ["x", '{"input": "y"}']),
        ("", []),
    ],
)
def test_standard_input_is_read_by_its_first_line(monkeypatch: pytest.MonkeyPatch, content: str, expected: list[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert [found.task.input for found in texts.read("-", PLAIN)] == expected


def test_row_of_standard_input_is_given_before_the_next_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(io.BytesIO):
        def readline(self, size: int | None = -1) -> bytes:
            line = super().readline(size)
            assert line, "the end was asked for too early"
            return line

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Slow(b'{"input": "x"}\n{"input": "y"}\n')))
    reading = texts.read("-", PLAIN)
    assert [next(reading).task.input, next(reading).task.input] == ["x", "y"]


LABELLED = {"input": "text", "output": "label"}
WORDED = rows_data(LABELLED, task="classification", wordings=[{"text": "Is {{ text }} good or bad?", "share": 1}])


@pytest.mark.parametrize(
    ("data", "lacked"),
    [
        (QUIZ, "'choices'; give rows with the columns of the training rows"),
        (rows_data({"instruction": "task", "input": "context", "output": "answer"}), "'task'; give rows"),
        (rows_data({"messages": "messages", "system": "role", "tools": "functions"}), "'functions' and 'role'; give rows"),
        (WORDED, "a wording of data.wordings; write each line as one of these"),
        (QUESTIONS, ""),
        (CHATS, ""),
        (rows_data({"instruction": "task", "output": "answer"}), ""),
        (rows_data(LABELLED, task="classification"), ""),
        (PLAIN, ""),
    ],
)
def test_lines_without_what_training_had_cause_one_warning(data: Data, lacked: str, capsys: pytest.CaptureFixture[str]) -> None:
    texts._warn.cache_clear()
    for name in ("a.txt", "texts", "a.txt"):
        assert [text for text, _ in asked(name, "a line\nanother\n", data)] == ["a line", "another"]
    asked("empty.txt", " \n", data)
    begin = "plain lines lack what the prompts in training have: "
    warnings = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in warnings] == (["a.txt", "texts"] if lacked else [])
    assert all(f"{begin}{lacked}" in line for line in warnings)


def test_rows_with_all_columns_cause_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    texts._warn.cache_clear()
    tasks(json.dumps({"question": "Which?", "choices": ["red", "blue"]}) + "\n", QUIZ)
    assert capsys.readouterr().err == ""


def test_rows_are_asked_in_the_usual_wording() -> None:
    wordings = [{"text": "Rate {{ text }}.", "share": 1}, {"text": "{{ text }}: good or bad, {{ who }}?", "share": 2}]
    data = rows_data(LABELLED, task="classification", wordings=wordings)
    (task,) = tasks('{"text": "{{ who }}", "who": "Ann"}', data)
    assert (task.instruction, task.input) == ("", "{{ who }}: good or bad, Ann?")
    with pytest.raises(DataError, match=r"data\.wordings\[2\] names the column 'who'"):
        tasks('{"text": "fine"}', data)

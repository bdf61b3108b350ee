"""A user's own file: what is read, what is refused with which message, and into which split a row falls."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from stages.errors import DataError
from stages.fetch import rows
from stages.params import RowsData
from stages.records import Message, Task

NO_COLUMNS: dict[str, str | None] = dict.fromkeys(("messages", "system", "instruction", "input", "output", "options", "group"))
ASKED = {"input": "input", "output": "output"}
CHAT = {"messages": "messages"}


def settings(path: Path, columns: dict[str, str], **changes: Any) -> RowsData:
    values = {"kind": "rows", "path": str(path), "hub": None, "task": "text", "system": "", "also": [], "orders": 0}
    values |= {"valid": 0.0, "test": 0.0}
    return RowsData.model_validate(values | {"columns": NO_COLUMNS | columns} | changes)


def read(path: Path, columns: dict[str, str] = ASKED, **changes: Any) -> list[Task]:
    return rows.tasks(settings(path, columns, **changes), seed=1)["train"]


def save(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(folder: Path, values: list[dict[str, Any]]) -> Path:
    return save(folder, "mine.jsonl", "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def questions(count: int) -> list[dict[str, Any]]:
    return [{"input": f"question {number}", "output": f"answer {number}", "who": f"p{number % 40}"} for number in range(count)]


THREE = [
    {"instruction": "Antworte kurz.", "input": "Wo bleibt, was ich bestellte?\nIch warte.", "output": 'Es ist "unterwegs".'},
    {"instruction": "提取姓名", "input": "我叫王小明。", "output": "王小明"},
    {"instruction": "Say hello.", "input": "", "output": "Hello"},
]
THREE_AS_CSV = (
    "instruction,input,ignored,output\n"
    'Antworte kurz.,"Wo bleibt, was ich bestellte?\nIch warte.",x,"Es ist ""unterwegs""."\n'
    "\n"
    "提取姓名,我叫王小明。,x,王小明\n"
    "Say hello.,,x,Hello\n"
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.csv", THREE_AS_CSV),
        ("mine.csv", "\ufeff" + THREE_AS_CSV),
        ("mine.csv", THREE_AS_CSV.replace("\n", "\r\n")),
        ("mine.CSV", THREE_AS_CSV + ",,,\n"),
        ("mine.jsonl", "\ufeff" + "\r\n".join(json.dumps(row) for row in THREE) + "\r\n\r\n"),
        ("mine.json", json.dumps(THREE, ensure_ascii=False, indent=2)),
        ("mine.json", json.dumps([{**row, "input": row["input"] or None, "ignored": 7} for row in THREE])),
    ],
    ids=["csv", "csv-bom", "csv-windows", "csv-blank-last-row", "jsonl-bom-windows", "json", "json-null"],
)
def test_the_same_rows_in_any_format_are_the_same_tasks(tmp_path: Path, name: str, content: str) -> None:
    found = read(save(tmp_path, name, content), {"instruction": "instruction", **ASKED})
    assert [{"instruction": task.instruction, "input": task.input, "output": task.output} for task in found] == THREE
    assert [task.id for task in found] == [
        task.id for task in read(jsonl(tmp_path, THREE), {"instruction": "instruction", **ASKED})
    ]


def test_unnamed_columns_are_ignored(tmp_path: Path) -> None:
    path = save(tmp_path, "mine.csv", ",Frage,Antwort,input\n0,Wer?,Ich,zzz\n")
    (task,) = read(path, {"input": "Frage", "output": "Antwort"})
    assert (task.input, task.output, task.instruction, task.system) == ("Wer?", "Ich", "", "")


def test_the_default_system_prompt_is_for_rows_that_bring_none(tmp_path: Path) -> None:
    path = save(tmp_path, "mine.csv", "sys,input,output\nBe kind.,a,b\n,c,d\n")
    assert [task.system for task in read(path, {"system": "sys", **ASKED}, system="Be brief.")] == ["Be kind.", "Be brief."]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_messages_become_system_history_input_and_output(tmp_path: Path, suffix: str) -> None:
    turns = [("system", "Be kind."), ("user", "你好"), ("assistant", "您好"), ("user", "Who?"), ("assistant", "Me")]
    messages = json.dumps([{"role": role, "content": content, "name": "x"} for role, content in turns], ensure_ascii=False)
    quoted = messages.replace('"', '""')
    content = f'{{"messages": {messages}}}\n' if suffix == "jsonl" else f'messages\n"{quoted}"\n'
    (task,) = read(save(tmp_path, f"mine.{suffix}", content), CHAT, system="unused")
    assert task.history == (Message(role="user", content="你好"), Message(role="assistant", content="您好"))
    assert (task.system, task.instruction, task.input, task.output) == ("Be kind.", "", "Who?", "Me")


def test_an_extraction_output_may_be_an_object_or_its_text(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"input": "a", "output": {"姓名": "王", "age": None}}, {"input": "b", "output": '{"姓名": "李"}'}])
    first, second = read(path, task="extraction")
    assert (first.kind, first.output, second.output) == ("extraction", '{"姓名": "王", "age": null}', '{"姓名": "李"}')


def test_a_field_of_a_million_characters_is_read(tmp_path: Path) -> None:
    (task,) = read(save(tmp_path, "mine.csv", f"input,output\n{'字' * 1_000_000},b\n"))
    assert len(task.input) == 1_000_000


def test_content_that_looks_like_a_template_stays_as_it_is(tmp_path: Path) -> None:
    (task,) = read(jsonl(tmp_path, [{"input": "{{ 7 * 7 }} {% raw %} ${HOME} <|im_end|>", "output": "{}"}]))
    assert task.input == "{{ 7 * 7 }} {% raw %} ${HOME} <|im_end|>"


def turns(*pairs: tuple[str, Any]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in pairs]}) + "\n"


OK = '{"input": "a", "output": "b"}\n'
EXTRACTION = {"task": "extraction"}
GROUPED = {**ASKED, "group": "who"}

BAD_FILES: list[tuple[str, str, str | bytes, dict[str, str], dict[str, Any], str, str]] = [
    # what is wrong, file, content, columns, other settings, place, hint
    ("another suffix", "mine.xlsx", b"PK", ASKED, {}, "mine.xlsx: ", ".csv, .json (a list of objects) or .jsonl"),
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
    ("UTF-16", "mine.csv", "input,output\na,b\n".encode("utf-16"), ASKED, {}, "mine.csv:1: not UTF-8", "Excel: CSV UTF-8"),
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
    ("JSON broken", "mine.json", '[\n{"input": "a"},\n}', ASKED, {}, "mine.json:3: not JSON", "at column 1"),
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
        "no number in JSON",
        "mine.jsonl",
        '{"input": "a", "output": {"a": 1e999}}',
        ASKED,
        EXTRACTION,
        "mine.jsonl:1: ",
        "JSON object",
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


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file; set data\.path"):
        read(tmp_path / "nowhere.csv")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(DataError, match=r"folder\.json: cannot read: Is a directory"):
        read(tmp_path / "folder.json")


def places(found: dict[str, list[Task]]) -> dict[str, str]:
    return {task.input: split for split, tasks in found.items() for task in tasks}


def test_splits_have_their_shares_and_keep_the_order(tmp_path: Path) -> None:
    found = rows.tasks(settings(jsonl(tmp_path, questions(2000)), ASKED, valid=0.1, test=0.2), seed=1)
    assert {split: round(len(tasks) / 2000, 1) for split, tasks in found.items()} == {"train": 0.7, "valid": 0.1, "test": 0.2}
    for tasks in found.values():
        assert tasks == sorted(tasks, key=lambda task: int(task.input.split()[1]))


def test_other_settings_move_no_test_row(tmp_path: Path) -> None:
    shares = {"valid": 0.1, "test": 0.2}
    before = places(rows.tasks(settings(jsonl(tmp_path, questions(300)), ASKED, **shares), seed=1))
    more = jsonl(tmp_path, [{"input": "new", "output": "row"}, *reversed(questions(300))])
    after = places(rows.tasks(settings(more, ASKED, **shares, system="Be brief."), seed=1))
    assert after == before | {"new": after["new"]}
    wider = places(rows.tasks(settings(more, ASKED, valid=0.3, test=0.2), seed=1))
    assert {text for text, split in wider.items() if split == "test"} == {
        text for text, split in after.items() if split == "test"
    }


def test_another_seed_splits_otherwise(tmp_path: Path) -> None:
    data = settings(jsonl(tmp_path, questions(300)), ASKED, valid=0.1, test=0.2)
    assert places(rows.tasks(data, seed=1)) != places(rows.tasks(data, seed=2))


def test_rows_of_one_group_stay_together(tmp_path: Path) -> None:
    data = settings(jsonl(tmp_path, questions(400)), GROUPED, valid=0.2, test=0.3)
    sources = [{task.source for task in tasks} for tasks in rows.tasks(data, seed=1).values()]
    assert set.union(*sources) == {f"p{number}" for number in range(40)}
    assert sum(map(len, sources)) == 40


def test_a_group_may_be_a_number(tmp_path: Path) -> None:
    (task,) = read(jsonl(tmp_path, [{"input": "a", "output": "b", "who": 7}]), GROUPED)
    assert task.source == "7"


def test_equal_prompts_stay_in_one_split(tmp_path: Path) -> None:
    twins = [
        {"input": text, "output": f"answer {text}"}
        for row in questions(200)
        for text in (row["input"], row["input"].title() + " \n")
    ]
    found = rows.tasks(settings(jsonl(tmp_path, twins), ASKED, valid=0.2, test=0.3), seed=1)
    sources = [{task.source for task in tasks} for tasks in found.values()]
    assert sum(map(len, sources)) == len(set.union(*sources)) == 200
    assert all(source.startswith("row-") and len(source) == 16 for source in set.union(*sources))


def test_exact_repetitions_are_kept_once_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    again = [*questions(5), *questions(3), {"input": "question 0", "output": "another answer"}]
    with caplog.at_level(logging.WARNING):
        assert [task.output for task in read(jsonl(tmp_path, again))][-2:] == ["answer 4", "another answer"]
    assert "mine.jsonl: 3 rows left out" in caplog.text

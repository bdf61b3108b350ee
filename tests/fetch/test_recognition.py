"""`data.columns: auto`: which shapes are recognised from the first rows, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.errors import DataError
from stages.fetch import recognition, rows
from stages.figures import Recognised
from stages.records import Task
from tests.fixtures.own_rows import ASKED, jsonl, save, settings

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHAREGPT = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


def recognised(folder: Path, values: list[dict[str, Any]], **changes: Any) -> tuple[recognition.Opened, list[Task]]:
    table = recognition.opened(settings(jsonl(folder, values), "auto", **changes))
    return table, list(rows.tasks(table.data, 1, table)["train"])


# shape, row, (system, instruction, input, output), further columns
SHAPES: list[tuple[str, dict[str, Any], tuple[str, str, str, str], list[str]]] = [
    ("Alpaca", {"instruction": "i", "input": "q", "output": "a"}, ("", "i", "q", "a"), []),
    ("Alpaca", {"instruction": "i", "input": "", "output": "a", "text": "whole"}, ("", "i", "", "a"), ["text"]),
    ("Alpaca", {"instruction": "i", "context": "q", "response": "a", "category": "c"}, ("", "i", "q", "a"), ["category"]),
    ("Alpaca", {"Instruction": "i", " Output": "a"}, ("", "i", "", "a"), []),
    ("input/output", {"id": "7", "input": "q", "output": "a"}, ("", "", "q", "a"), ["id"]),
    ("OpenAI messages", {"messages": CHAT, "tools": "[]", "id": "7"}, ("", "", "q", "a"), ["id"]),
    ("ShareGPT", {"id": "7", "conversations": SHAREGPT}, ("", "", "q", "a"), ["id"]),
    ("ShareGPT", {"conversations": json.dumps(SHAREGPT)}, ("", "", "q", "a"), []),
    ("ShareGPT", {"system": "s", "tools": "[]", "conversations": SHAREGPT}, ("s", "", "q", "a"), ["tools"]),
    ("ShareGPT", {"conversations": [{"from": "system", "value": "s"}, *SHAREGPT]}, ("s", "", "q", "a"), []),
    ("OpenAI messages", {"messages": CHAT}, ("", "", "q", "a"), []),
    ("OpenAI messages", {"conversations": CHAT}, ("", "", "q", "a"), []),
    ("OpenAI messages", {"prompt": "q", "messages": CHAT}, ("", "", "q", "a"), ["prompt"]),
    ("prompt/completion", {"prompt": "q", "completion": "a"}, ("", "", "q", "a"), []),
    ("question/answer", {"question": "q", "answer": "a"}, ("", "", "q", "a"), []),
    ("question/answer", {"passage": "p", "question": "q", "answer": "a"}, ("", "p", "q", "a"), []),
    ("question/answer", {"system_prompt": "s", "question": "q", "response": "a"}, ("s", "", "q", "a"), []),
    ("text/label", {"text": "q", "label": "a"}, ("", "", "q", "a"), []),
    ("text/label", {"text": "q", "label": 1, "label_text": "a"}, ("", "", "q", "a"), ["label"]),
]


@pytest.mark.parametrize(("shape", "row", "expected", "further"), SHAPES)
def test_shape_is_recognised(
    tmp_path: Path, shape: str, row: dict[str, Any], expected: tuple[str, ...], further: list[str]
) -> None:
    table, (task,) = recognised(tmp_path, [row])
    assert (table.shape, table.meaning.further) == (shape, further)
    assert (task.system, task.instruction, task.input, task.output) == expected


def test_options_are_recognised_and_the_letter_is_preferred(tmp_path: Path) -> None:
    row = {"question": "q", "options": {"A": "x", "B": "y"}, "answer": "y", "answer_idx": "B"}
    table, (task,) = recognised(tmp_path, [row], task="choice")
    columns = {"input": "question", "options": "options", "output": "answer_idx"}
    assert table.meaning == Recognised(shape="question/options/answer", columns=columns, further=["answer"])
    assert task.output == "The correct answer is y."


QUIZ = {"question": "q", "choices": {"A": "x", "B": "y"}, "answer": "A"}
REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("none", {"id": "7", "dialogue": "d", "summary": "s"}, {}, "no known shape; the columns are 'id', 'dialogue', 'summary'; "),
    ("none, an example", {"id": "7", "dialogue": "d", "summary": "s"}, {}, "data.columns={input: dialogue, output: summary}"),
    ("one column", {"text": "t"}, {}, "no known shape; the columns are 'text'"),
    ("two texts", {"sentence1": "a", "sentence2": "b", "label": "c"}, {}, "no known shape"),
    ("two shapes", {"text": "a", "label": "b", "question": "c", "answer": "d"}, {}, "fits 2 shapes, question/answer ("),
    ("chat and prompt", {"messages": CHAT, "prompt": "q", "completion": "a"}, {}, "fits 2 shapes, OpenAI messages (messages)"),
    ("two chats", {"messages": CHAT, "conversations": CHAT}, {}, "whose messages is 'messages' or 'conversations'"),
    ("two answers", {"instruction": "a", "output": "b", "response": "c"}, {}, "whose output is 'output' or 'response'"),
    ("a pair", {"prompt": "q", "chosen": "a", "rejected": "b"}, {}, "data.columns={input: prompt, output: chosen}"),
    ("a pair of chats", {"chosen": CHAT, "rejected": CHAT}, {}, "data.columns={messages: chosen}"),
    ("a pair and a chat", {"chosen": CHAT, "rejected": CHAT, "messages": CHAT}, {}, "fits 2 shapes"),
    ("options, another task", QUIZ, {}, "is multiple choice, but data.task = text; set data.task=choice"),
    ("no options", {"question": "q", "answer": "a"}, {"task": "choice"}, "has no options, but data.task = choice needs them"),
    ("further tasks on chats", {"messages": CHAT}, {"also": [{"system": "s", "output": "t"}]}, "set it to []"),
    ("two system prompts", {"system": "s", "messages": [{"role": "system", "content": "t"}, *CHAT]}, {}, "keep one of them"),
    ("a tool", {"conversations": [SHAREGPT[0], {"from": "observation", "value": "x"}]}, {}, "got 'observation'"),
]


@pytest.mark.parametrize(("row", "changes", "expected"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_unclear_shape_is_refused(tmp_path: Path, row: dict[str, Any], changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError) as refusal:
        recognised(tmp_path, [row], **changes)
    assert str(refusal.value).startswith(f"{tmp_path}/mine.jsonl:")
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("name", "content"), [("mine.csv", "input,output\n"), ("mine.json", "[]")])
def test_table_without_rows_has_no_shape(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(DataError, match="no rows in it"):
        recognition.opened(settings(save(tmp_path, name, content), "auto"))


def test_column_of_the_shape_in_a_late_row_is_refused(tmp_path: Path) -> None:
    first = [{"instruction": f"i {number}", "output": "a"} for number in range(recognition.FIRST)]
    with pytest.raises(DataError, match=r"mine\.jsonl:101: a column 'input', which no row before it has"):
        recognised(tmp_path, [*first, {"instruction": "i", "input": "q", "output": "a"}])
    table, _ = recognised(tmp_path, [*first, {"instruction": "i", "note": "n", "output": "a"}])
    assert list(table.further) == ["note"]


def test_named_columns_are_not_recognised(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"input": "q", "output": "a", "text": "t", "label": "l"}])
    table = recognition.opened(settings(path, ASKED))
    rows.tasks(table.data, 1, table)
    assert table.meaning == Recognised(shape=None, columns=ASKED, further=["text", "label"])
    assert str(table.meaning) == "reads input as input, output as output; not read: text, label"


def test_column_of_a_wording_is_read(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"input": "q", "output": "a", "text": "t", "label": "l"}])
    wording = {"text": "{{ input }} {{text}}", "share": 1}
    table = recognition.opened(settings(path, ASKED, wordings=[wording]))
    rows.tasks(table.data, 1, table)
    assert table.meaning.further == ["label"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "q", "completion": "bad", "label": False}, "rows marked false are answers to avoid; delete them"),
        (
            {"instruction": "and then?", "output": "a", "history": [["q", "a"]]},
            "'history', which would be lost; write the",
        ),
    ],
)
def test_columns_that_change_the_meaning_are_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        recognised(tmp_path, [row])

"""`data.columns: auto`: which shapes are recognised from the first rows, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from stages.errors import DataError
from stages.fetch import recognition, rows
from stages.figures.rows import Recognised
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
    ("ShareGPT", {"system": "s", "tools": "[]", "conversations": SHAREGPT}, ("s", "", "q", "a"), []),
    ("ShareGPT", {"conversations": [{"from": "system", "value": "s"}, *SHAREGPT]}, ("s", "", "q", "a"), []),
    ("OpenAI messages", {"messages": CHAT}, ("", "", "q", "a"), []),
    ("OpenAI messages", {"conversations": CHAT}, ("", "", "q", "a"), []),
    ("OpenAI messages", {"prompt": "q", "messages": CHAT}, ("", "", "q", "a"), ["prompt"]),
    ("prompt/completion", {"prompt": "q", "completion": "a"}, ("", "", "q", "a"), []),
    ("question/answer", {"question": "q", "answer": "a"}, ("", "", "q", "a"), []),
    ("question/answer", {"passage": "p", "question": "q", "answer": "a"}, ("", "p", "q", "a"), []),
    ("question/answer", {"article": "p", "question": "q", "answer": "a"}, ("", "p", "q", "a"), []),
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


@pytest.mark.parametrize("name", ["article", "context", "passage"])
def test_passage_stands_before_a_question_with_options(tmp_path: Path, name: str) -> None:
    row = {name: "The lot is on shelf 3.", "question": "Which shelf?", "options": ["2", "3"], "answer": "B"}
    _, (task,) = recognised(tmp_path, [row], task="choice")
    assert task.input.startswith("The lot is on shelf 3.\nWhich shelf?\n\nOptions:\nA. 2\nB. 3\n")


LOST: list[tuple[dict[str, Any], str, str]] = [
    ({"context": "c", "input": "q", "output": "a"}, "context", "{instruction: context, input: input, output: output}"),
    (
        {"context": "c", "prompt": "q", "completion": "a"},
        "context",
        "{instruction: context, input: prompt, output: completion}",
    ),
    ({"question": "q", "sentence": "s", "label": "a"}, "question", "{instruction: question, input: sentence, output: label}"),
    ({"premise": "p", "text": "q", "label": "a"}, "premise", "{instruction: premise, input: text, output: label}"),
    ({"dialogue": "d", "question": "q", "answer": "a"}, "dialogue", "{instruction: dialogue, input: question, output: answer}"),
    (
        {"instruction": "i", "passage": "p", "output": "a"},
        "passage",
        "{input: passage, instruction: instruction, output: output}",
    ),
    ({"instruction": "i", "input": "q", "passage": "p", "output": "a"}, "passage", "join it with 'input' in one column; "),
]


@pytest.mark.parametrize(("row", "name", "hint"), LOST, ids=[" ".join(row) for row, *_ in LOST])
def test_part_of_the_question_is_not_lost(tmp_path: Path, row: dict[str, Any], name: str, hint: str) -> None:
    with pytest.raises(DataError) as refusal:
        recognised(tmp_path, [row | {name: None}, row])
    assert "mine.jsonl:2: data.columns = auto: " in str(refusal.value)
    assert f" does not read {name!r}; " in str(refusal.value)
    assert hint in str(refusal.value)


@pytest.mark.parametrize("names", ["ABCD", ["option_a", "option_b"], ["choice1", "choice2"]])
@pytest.mark.parametrize("task", ["text", "choice"])
def test_options_in_several_columns_are_not_lost(tmp_path: Path, names: Any, task: str) -> None:
    row = {"question": "q", **dict.fromkeys(names, "x"), "answer": "1"}
    with pytest.raises(
        DataError, match=r"does not read all options; write .* as a list, in CSV as JSON, in one column 'options'"
    ):
        recognised(tmp_path, [row], task=task)


USER, ASSISTANT = [CHAT[0]], [CHAT[1]]
NLI = {"premise": "p", "hypothesis": "q"}
SWAG = {"ctx": "q", "endings": ["x", "y"]}
RACE = {"article": "p", "question": "q", "options": ["x", "y"], "answer": "B"}
SHOWN: list[tuple[str, list[dict[str, Any]]]] = [
    ("NLI", [NLI | {"label": "yes"}, NLI | {"label": "no"}]),
    ("NLI with numbers", [NLI | {"idx": 1, "label": 0}, NLI | {"idx": 2, "label": 1}]),
    (
        "pairs of sentences",
        [{"sentence1": "q", "sentence2": "b", "label": 0}, {"sentence1": "q 2", "sentence2": "b", "label": 1}],
    ),
    ("HellaSwag", [{"ind": 1, "activity_label": "b", **SWAG, "label": "1"}]),
    ("HellaSwag as CSV", [SWAG | {"endings": '["x", "y"]', "label": "0"}]),
    ("choice", [{"stem": "q", "candidates": {"A": "x", "B": "y"}, "answer": "B"}]),
    ("choice with a number", [{"context": "p", "query": "q", "endings": ["x", "y"], "label": 1}]),
    ("choice and text", [RACE | {"text": "t", "label": "l"}]),
    ("messages next to a pair", [{"messages": CHAT, "chosen": CHAT, "rejected": CHAT}]),
    ("pair of chats", [{"prompt": "q", "chosen": CHAT, "rejected": CHAT}]),
    ("pair", [{"prompt": "q", "chosen": "a", "rejected": "b"}]),
    ("chat under another name", [{"id": "7", "dialog": SHAREGPT}]),
    ("SQuAD", [{"id": "7", "title": "t", "context": "p", "question": "q", "answers": {"text": ["a"], "answer_start": [0]}}]),
    ("summary", [{"id": "7", "dialogue": "q", "summary": "a"}]),
    ("list that holds no options", [{"post": "q", "tags": ["x", "y"], "size": [0.1, 0.2], "reply": "a"}]),
    ("names to quote", [{"Frage, bitte": "q", "Übersetzung: ja": "a"}]),
    ("names that YAML reads", [{"1": "q", "true": "a"}]),
    ("two shapes", [{"text": "a", "label": "b", "question": "q", "answer": "d"}]),
]


@pytest.mark.parametrize("values", [case[1] for case in SHOWN], ids=[case[0] for case in SHOWN])
def test_shown_example_reads_the_rows(tmp_path: Path, values: list[dict[str, Any]]) -> None:
    with pytest.raises(DataError) as refusal:
        recognised(tmp_path, values)
    shown = re.findall(r"data\.(?:columns|labels)=\{.*?\}|data\.task=\w+", str(refusal.value))
    overrides = [OverridesParser.create().parse_override(setting) for setting in shown]
    changes = {override.key_or_group.removeprefix("data."): override.value() for override in overrides}
    path = jsonl(tmp_path, values)
    found = list(rows.tasks(settings(path, **changes), 1)["train"])
    assert len(found) == len(values)
    assert all("q" in task.input for task in found)


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ({"prompt": USER, "completion": ASSISTANT}, "join the turns of 'prompt' and 'completion' as one list in a column"),
        ({"prompt": USER, "chosen": ASSISTANT, "rejected": ASSISTANT}, "join the turns of 'prompt' and 'chosen' as one list"),
        ({"chosen": "Human: q Assistant: a", "rejected": "b"}, "there must be a column with the question and one with the"),
        ({"data": [{"input": "q", "output": "a"}]}, "its rows are in 'data': save that list alone"),
        ({"stem": "q", "answer": 7}, "there must be a column with the question and one with the right answer as text"),
        ({"text": "t"}, "there must be a column with the question and one with the right answer"),
    ],
)
def test_rows_that_no_columns_read_get_another_hint(tmp_path: Path, row: dict[str, Any], hint: str) -> None:
    with pytest.raises(DataError) as refusal:
        recognised(tmp_path, [row])
    assert hint in str(refusal.value)
    assert "data.columns=" not in str(refusal.value)


@pytest.mark.parametrize(
    "content", ["Where is it?,Here.\nWhat?,That.\n", "good film,1\nbad film,0\n", "a,good\nb,bad\nc,good\n"]
)
def test_first_row_is_not_taken_for_the_header(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="if this line is a row and not the header, write the names of the columns above it"):
        recognition.opened(settings(save(tmp_path, "mine.csv", content), "auto"))


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

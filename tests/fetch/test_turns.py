"""Turns of a chat: keys that are read, and keys that are refused by their name."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.errors import DataError
from stages.fetch import rows
from stages.fetch.recognition import NamedRows, Opened
from stages.records import Message, Task, ToolCall
from stages.text.prompts import answered, question
from tests.fixtures.own_rows import CHAT, jsonl, read, settings

Turn = dict[str, Any]


def openai(*changes: Turn) -> list[Turn]:
    """Return user and assistant turns, one for each change of their keys."""
    return [{"role": ("user", "assistant")[i % 2], "content": f"turn {i}"} | change for i, change in enumerate(changes)]


def sharegpt(*changes: Turn) -> list[Turn]:
    return [{"from": ("human", "gpt")[i % 2], "value": f"turn {i}"} | change for i, change in enumerate(changes)]


def task(tmp_path: Path, turns: list[Turn]) -> Task:
    (found,) = read(jsonl(tmp_path, [{"messages": turns}]), CHAT)
    return found


@pytest.mark.parametrize("shape", [openai, sharegpt])
@pytest.mark.parametrize(
    "marks",
    [
        ({}, {"weight": 0}, {}, {}),
        ({}, {"weight": 0.0}, {}, {"weight": 1.0}),  # as pandas writes integers of a column with gaps
        ({"weight": 0}, {"weight": 0}, {"weight": 0}, {"weight": 1}),  # OpenHermes
        ({"weight": None}, {"weight": 0}, {"weight": None}, {"weight": None}),  # a table of the hub
        ({"train": False}, {"train": False}, {"train": False}, {"train": True}),  # Axolotl
        ({}, {"train": False, "weight": 0}, {}, {"train": True, "weight": 1}),
    ],
)
def test_turn_of_weight_0_is_only_context(tmp_path: Path, shape: Any, marks: tuple[Turn, ...]) -> None:
    found = task(tmp_path, shape(*marks))
    assert found.history == (
        Message(role="user", content="turn 0"),
        Message(role="assistant", content="turn 1", trained=False),
    )
    assert (found.input, found.output) == ("turn 2", "turn 3")


REFUSED: list[tuple[str, list[Turn], str]] = [
    (
        "several keys",
        openai({"id": 1, "toxic": False}, {}),
        "messages[1] has 'id', 'toxic', which would be lost; read are role",
    ),
    ("name", openai({"name": "Ann"}, {}), "messages[1] has 'name'"),
    (
        "thoughts of ShareGPT",
        sharegpt({}, {"reasoning": "x"}),
        "messages[2] has 'reasoning', which would be lost; read are from",
    ),
    ("both shapes", sharegpt({"role": "user"}, {}), "messages[1] has 'role', which would be lost; read are from, value"),
    ("train_detail", sharegpt({}, {"train_detail": [{"begin_offset": 0}]}), "messages[2] has 'train_detail'"),
    ("audio", openai({}, {"audio": {"id": "a"}}), "messages[2] has 'audio'"),
    ("function_call", openai({}, {"function_call": {"name": "f"}}), "messages[2] has 'function_call'"),
    ("misspelt", openai({}, {"wieght": 0}, {}, {}), "messages[2] has 'wieght'"),
    ("false is a value", openai({"redacted": False}, {}), "messages[1] has 'redacted'"),
    ("zero is a value", openai({"n": 0}, {}), "messages[1] has 'n'"),
    ("half a weight", openai({}, {"weight": 0.5}, {}, {}), "messages[2].weight must be 0 or 1, got '0.5'"),
    ("weight as text", openai({}, {"weight": "0"}, {}, {}), "messages[2].weight must be 0 or 1, got '0'"),
    ("weight true", openai({}, {"weight": True}, {}, {}), "messages[2].weight must be 0 or 1, got 'True'"),
    ("train as a number", openai({}, {"train": 0}, {}, {}), "messages[2].train must be false or true, got '0'"),
    ("weight of a list", openai({}, {"weight": [0]}, {}, {}), "messages[2].weight must be 0 or 1, got '[0]'"),
    ("they disagree", openai({}, {"weight": 0, "train": True}, {}, {}), "messages[2]: weight and train disagree"),
    ("trained user", openai({"weight": 1}, {}), "messages[1].weight is 1, but only assistant turns are trained on"),
    ("trained human", sharegpt({"train": True}, {}), "messages[1].train is true, but only assistant turns are trained on"),
    (
        "untrained answer",
        openai({}, {"weight": 1}, {}, {"weight": 0}),
        "messages[4] is not to be trained on, but the last turn",
    ),
]


@pytest.mark.parametrize(("turns", "hint"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_key_of_a_turn_is_refused_by_name(tmp_path: Path, turns: list[Turn], hint: str) -> None:
    with pytest.raises(DataError) as refusal:
        task(tmp_path, turns)
    assert f"mine.jsonl:1: {hint}" in str(refusal.value)


def test_keys_that_hold_nothing_are_no_loss(tmp_path: Path) -> None:
    nothing: Turn = {"refusal": None, "annotations": [], "function_call": {}, "name": ""}
    assert task(tmp_path, openai(nothing, nothing)) == task(tmp_path, openai({}, {}))


def test_turn_that_is_trained_on_is_stored_as_before(tmp_path: Path) -> None:
    (turn, *_) = task(tmp_path, openai({}, {"weight": 1}, {}, {})).history
    assert json.loads(turn.model_dump_json()) == {"role": "user", "content": "turn 0"}


CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rom"}'}}
ASKED = {"role": "user", "content": "Is it warm in Rom?"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOLD = {"role": "tool", "tool_call_id": "c1", "content": "21"}
ANSWERED = {"role": "assistant", "content": "Yes, 21 degrees."}
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def called(arguments: Any = '{"city": "Rom"}', **changes: Any) -> Turn:
    return CALLING | {"tool_calls": [CALL | {"function": {"name": "weather", "arguments": arguments}} | changes]}


def test_calls_of_tools_and_their_answers_are_read(tmp_path: Path) -> None:
    found = task(tmp_path, [{"role": "system", "content": "s"}, ASKED, CALLING, TOLD, TOLD, ANSWERED])
    call = ToolCall(name="weather", arguments='{"city": "Rom"}', id="c1")
    reply = Message(role="tool", content="21", tool_call_id="c1")
    asked = Message(role="user", content="Is it warm in Rom?")
    calling = Message(role="assistant", content="", tool_calls=(call,))
    assert (found.system, found.history, found.input) == ("s", (asked, calling, reply, reply), "")
    assert question(found)[1:] == found.history
    assert answered(found)[-1] == Message(role="assistant", content="Yes, 21 degrees.")


@pytest.mark.parametrize(
    "turn",
    [
        called({"city": "Rom"}),
        called('{"city":"Rom"}'),
        called(index=0),
        called(type=None),
        CALLING | {"tool_calls": json.dumps([CALL])},
        CALLING | {"tool_calls": [{"id": "c1", "name": "weather", "arguments": {"city": "Rom"}}]},
        CALLING | {"content": "", "refusal": None, "reasoning_content": None},
    ],
)
def test_call_in_another_spelling_is_the_same_call(tmp_path: Path, turn: Turn) -> None:
    assert task(tmp_path, [ASKED, turn]) == task(tmp_path, [ASKED, CALLING])
    assert task(tmp_path, [ASKED, turn]).tool_calls[0].arguments == '{"city": "Rom"}'


@pytest.mark.parametrize("calls", ['{"name": "weather", "arguments": {"city": "Rom"}}', json.dumps([CALL | {"id": None}])])
def test_calls_of_sharegpt_are_those_of_openai(tmp_path: Path, calls: str) -> None:
    spoken = [("human", ASKED["content"]), ("function_call", calls), ("observation", "21"), ("gpt", ANSWERED["content"])]
    turns = [{"from": speaker, "value": text} for speaker, text in spoken]
    same = [ASKED, CALLING | {"tool_calls": [CALL | {"id": None}]}, {"role": "tool", "content": "21"}, ANSWERED]
    assert task(tmp_path, turns) == task(tmp_path, same)
    assert task(tmp_path, turns[:2]).tool_calls == task(tmp_path, same[:2]).tool_calls


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_have_several_names(tmp_path: Path, key: str) -> None:
    found = task(tmp_path, openai({}, {key: "hm"}, {}, {key: "so"}))
    assert found.history[1] == Message(role="assistant", content="turn 1", reasoning="hm")
    assert answered(found)[-1] == Message(role="assistant", content="turn 3", reasoning="so")


def test_developer_turn_replaces_the_system_prompt(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"messages": [{"role": "developer", "content": "Be brief."}, *openai({}, {})]}])
    (found,) = read(path, CHAT, system="unused")
    assert (found.system, found.history) == ("", (Message(role="developer", content="Be brief."),))


@pytest.mark.parametrize("given", [[WEATHER], [{"type": "function", "function": WEATHER}], json.dumps([WEATHER])])
def test_tools_of_a_row_stand_on_its_first_turn(tmp_path: Path, given: Any) -> None:
    path = jsonl(tmp_path, [{"messages": [ASKED, CALLING], "tools": given}, {"messages": openai({}, {}), "tools": None}])
    first, second = read(path, {**CHAT, "tools": "tools"})
    assert json.loads(question(first)[0].tools) == [{"type": "function", "function": WEATHER}]
    assert question(second)[0].tools == ""


CALLS_REFUSED: list[tuple[str, list[Turn], str]] = [
    ("no answer of the tool", [ASKED, CALLING, ASKED, ANSWERED], "messages[3].role must be 'tool', got 'user'; tools answer"),
    (
        "no call",
        [ASKED, ANSWERED, TOLD, ANSWERED],
        "messages[3].role must be 'user', got 'tool'; user and assistant take turns; a",
    ),
    ("tool at first", [TOLD, ANSWERED], "messages[1].role must be 'user', got 'tool'"),
    ("late developer", [ASKED, ANSWERED, {"role": "developer", "content": "x"}], "messages[3].role must be 'user', got 'devel"),
    ("ends with a tool", [ASKED, CALLING, TOLD], "'messages' must end with an assistant turn"),
    ("calls of a user", [ASKED | {"tool_calls": [CALL]}, ANSWERED], "messages[1] has 'tool_calls', which would be lost"),
    ("text of a call", [ASKED, CALLING | {"tool_calls": "weather()"}], "messages[2].tool_calls is not JSON"),
    ("one object", [ASKED, CALLING | {"tool_calls": CALL}], "messages[2].tool_calls must be a list like [{"),
    (
        "arguments as a list",
        [ASKED, called("[1]")],
        "messages[2].tool_calls[1].function.arguments must be an object, got a list",
    ),
    ("arguments as a number", [ASKED, called(0)], "messages[2].tool_calls[1].function.arguments must be an object, got a num"),
    ("arguments as a text", [ASKED, called("city: Rom")], "messages[2].tool_calls[1].function.arguments is not JSON"),
    ("no name", [ASKED, called(function={"arguments": {}})], "messages[2].tool_calls[1] must be a call of a function"),
    ("another type", [ASKED, called(type="web_search")], "messages[2].tool_calls[1] must be a call of a function"),
    ("another key", [ASKED, called(output="21")], "messages[2].tool_calls[1] has 'output', which would be lost"),
    (
        "huge number",
        [ASKED, called('{"x": 1e999}')],
        "messages[2].tool_calls[1].function.arguments is not JSON: the number 1e9",
    ),
    ("many turns", [ASKED, ANSWERED] * 201, "'messages' has 402 turns, more than 400; divide the chat into several rows"),
    ("half a character", [ASKED, called('{"a": "\\ud83d"}')], "'messages[2].tool_calls[1].function.arguments' holds"),
    ("object of a tool", [ASKED, CALLING, TOLD | {"content": {"t": 21}}, ANSWERED], "'messages[3].content' must be text"),
    ("ShareGPT, no JSON", sharegpt({}, {"from": "function_call", "value": "f()"}), "messages[2].value is not JSON"),
    ("ShareGPT, no call", sharegpt({}, {"from": "function_call", "value": ""}), "messages[2].value is empty"),
    (
        "ShareGPT, no answer of the tool",
        sharegpt({}, {"from": "function_call", "value": '{"name": "f"}'}, {"from": "gpt"}),
        "messages[3].from must be one of observation, tool, got 'gpt'; tools answer the calls",
    ),
    (
        "ShareGPT, an answer to no call",
        sharegpt({}, {}, {"from": "observation"}),
        "messages[3].from must be one of human, user, got 'observation'; user and assistant take turns; a tool's turn",
    ),
    ("two thoughts", openai({}, {"reasoning": "a", "thinking": "b"}, {}, {}), "messages[2]: reasoning and thinking differ"),
    ("thoughts of a user", openai({"thinking": "b"}, {}), "messages[1] has 'thinking', which would be lost"),
]


@pytest.mark.parametrize(("turns", "hint"), [case[1:] for case in CALLS_REFUSED], ids=[case[0] for case in CALLS_REFUSED])
def test_bad_call_is_refused_by_its_place(tmp_path: Path, turns: list[Turn], hint: str) -> None:
    with pytest.raises(DataError) as refusal:
        task(tmp_path, turns)
    assert f"mine.jsonl:1: {hint}" in str(refusal.value)


@pytest.mark.parametrize(("given", "there"), [([], "none"), ([WEATHER | {"name": "a"}, WEATHER | {"name": "b"}], "'a', 'b'")])
def test_call_of_a_tool_that_is_not_described_is_refused(tmp_path: Path, given: Any, there: str) -> None:
    path = jsonl(tmp_path, [{"messages": [ASKED, CALLING], "tools": given}])
    with pytest.raises(
        DataError, match=f"mine.jsonl:1: 'messages' calls the tool 'weather', but 'tools' describes {there}; de"
    ):
        read(path, {**CHAT, "tools": "tools"})


def test_tools_that_are_called_but_not_read_are_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"messages": [ASKED, CALLING], "tools": [WEATHER]}])
    with pytest.raises(DataError, match=r"mine\.jsonl:1: .* calls tools, and the column 'tools' is not read; set"):
        read(path, CHAT)
    read(jsonl(tmp_path, [{"messages": [ASKED, CALLING]}]), CHAT)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({}, "'tools' must be a list like"),
        ("weather", "'tools' is not JSON"),
        ('[{"name": "a", "parameters": {"max": 1e999}}]', "'tools' is not JSON: the number 1e999 is too large"),
        (["weather"], "'tools' must be a list like"),
        ([{"type": "web_search"}], "tools[1] has no name"),
        ([{"type": "function", "function": "weather"}], "tools[1] has no name"),
    ],
)
def test_bad_tools_are_refused(tmp_path: Path, given: Any, hint: str) -> None:
    with pytest.raises(DataError) as refusal:
        read(jsonl(tmp_path, [{"messages": openai({}, {}), "tools": given}]), {**CHAT, "tools": "tools"})
    assert f"mine.jsonl:1: {hint}" in str(refusal.value)


def test_calls_are_no_answer_of_other_tasks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ends with calls of tools, which data\.task = extraction cannot score"):
        read(jsonl(tmp_path, [{"messages": [ASKED, CALLING]}]), CHAT, task="extraction")


def test_nulls_of_a_table_of_the_hub_are_no_arguments(tmp_path: Path) -> None:
    turns = [ASKED, called({"city": "Rom", "street": None}), TOLD | {"tool_calls": None}, ANSWERED]
    hub = {"repo": "owner/name", "revision": "main", "split": "train"}
    data = NamedRows.model_validate(settings(tmp_path, CHAT, hub=hub).model_dump())
    table = Opened(data, tmp_path, {"": iter([("row 1", {"messages": turns})])}, "", {})
    (found,) = rows.tasks(data, 1, table)["train"]
    assert found.history[1].tool_calls[0].arguments == '{"city": "Rom"}'
    assert json.loads(task(tmp_path, turns).history[1].tool_calls[0].arguments) == {"city": "Rom", "street": None}

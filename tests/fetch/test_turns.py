"""Turns of a chat: keys that are read, and keys that are refused by their name."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.errors import DataError
from stages.records import Message, Task
from tests.fixtures.own_rows import CHAT, jsonl, read

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

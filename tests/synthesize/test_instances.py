"""Instances of instructions: how answers are read, what each filter rejects, dialogues."""

import pytest

from stages.records import Call, Message
from stages.synthesize import instances
from tests.fixtures.instructing import NEW, examples, list_prompts, numbered, run, script


def test_classification_gets_the_output_first() -> None:
    labels = "Class label: paid\nInvoice: settled on 3 May\nClass label: not paid\nInvoice: second reminder\nDue: 1 June"
    answers = {NEW[1]: labels, NEW[2]: examples(("Place: Cork", "A postman in Cork"), ("Place: Leeds", "A postman in Leeds"))}
    made = run(script([numbered(NEW[1:3])], answers, closed=[NEW[1]]), target=2)
    assert [(task.kind, task.instruction, task.input, task.output) for task in made.tasks] == [
        ("classification", NEW[1], "Invoice: settled on 3 May", "paid"),
        ("classification", NEW[1], "Invoice: second reminder\nDue: 1 June", "not paid"),
        ("text", NEW[2], "Place: Cork", "A postman in Cork"),
        ("text", NEW[2], "Place: Leeds", "A postman in Leeds"),
    ]


@pytest.mark.parametrize(
    ("is_closed", "text", "expected"),
    [
        (False, "Output: bears, bats", [("", "bears, bats")]),
        (False, "Input: winter\nOutput: bears", [("winter", "bears")]),
        (False, "Example 1\nJust an answer.", [("", "Just an answer.")]),
        (False, "Example 1\nA: 1\nOutput 1: x\nInput 2: B\nOutput 2: y", [("A: 1", "x")]),
        (False, "Output: one\n\nTask: Another task\nOutput: two", [("", "one")]),
        (False, "I cannot do that.", []),
        (False, "", []),
        (True, "Class label: Sydney", [("", "Sydney")]),
        (True, "The labels follow.\nClass label: A\nText: x\n\nTask: Next\nClass label: B", [("Text: x", "A")]),
        (True, "Output: yes", []),
    ],
)
def test_instances_are_read_as_published(is_closed: bool, text: str, expected: list[tuple[str, str]]) -> None:
    call = Call(messages=(), request="", text=text, stopped=True, prompt_tokens=1, new_tokens=1)
    assert [(one.input, one.output) for one in instances.read(call, is_closed)] == expected


@pytest.mark.parametrize(
    ("name", "pairs", "left"),
    [
        ("echo", [("same", "same"), ("a", "b")], ["b"]),
        ("empty", [("a", ""), ("b", "c")], ["c"]),
        ("colon", [("a", "as follows:"), ("Text:", "b"), ("c", "如下："), ("d", "e")], ["e"]),
        ("duplicate", [("a", "b"), ("a", "b"), ("c", "d")], ["b", "d"]),
        ("surplus", [(f"i{n}", f"o{n}") for n in range(7)], [f"o{n}" for n in range(5)]),
    ],
)
def test_each_instance_filter_rejects_its_case(name: str, pairs: list[tuple[str, str]], left: list[str]) -> None:
    teacher = script([numbered(NEW[:1])], {NEW[0]: examples(*pairs)})
    made = run(teacher)
    assert [task.output for task in made.tasks] == left
    assert {rejection.filter for rejection in made.rejected} == {f"instance_{name}"}
    assert len(made.rejected) == len(pairs) - len(left)
    assert {rejection.parents for rejection in made.rejected} == {(teacher.calls[-1].id,)}


def test_conflicting_outputs_reject_all_instances() -> None:
    made = run(script([numbered(NEW[:1])], {NEW[0]: examples(("a", "one"), ("b", "three"), ("a", "two"))}))
    assert not made.tasks
    assert [rejection.filter for rejection in made.rejected] == ["instance_conflict"] * 3 + ["instances"]


def test_outputs_without_input_may_differ() -> None:
    made = run(script([numbered(NEW[:1])], {NEW[0]: "Example 1\nOutput: bats\nExample 2\nOutput: bears"}))
    assert [task.output for task in made.tasks] == ["bats", "bears"]


def test_last_instance_of_a_cut_off_answer_is_dropped() -> None:
    teacher = script([numbered(NEW[:1])], {NEW[0]: examples(("a", "whole"), ("b", "hal"))}, cut_off=["whole"])
    made = run(teacher)
    assert [task.output for task in made.tasks] == ["whole"]
    assert [(one.filter, one.reason) for one in made.rejected] == [
        ("instance_finished", "the reply was cut off at max_new_tokens")
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "the reply is empty"),
        ("Let me think", "the reply was cut off at max_new_tokens"),
        ("No idea.", "the answer holds no instance"),
    ],
)
def test_reply_without_instances_names_its_fault(answer: str, reason: str) -> None:
    made = run(script([numbered(NEW[:1])], {NEW[0]: answer}, cut_off=["think"]))
    assert [(one.filter, one.reason) for one in made.rejected] == [("instances", reason)]


def test_instruction_without_instances_is_never_shown() -> None:
    teacher = script([numbered(NEW[:2]), numbered(NEW[1:3])], {NEW[0]: "No idea.", NEW[1]: examples(("a", "a"))})
    made = run(teacher, patience=2)
    listed = {(rejection.filter, rejection.text, rejection.reason) for rejection in made.rejected}
    assert ("instances", NEW[0], "the answer holds no instance") in listed
    assert ("instances", NEW[1], "none of its 1 instances passed") in listed
    assert [document.text for document in made.kept] == [NEW[2]]
    assert not set(list_prompts(teacher)[1]) & set(NEW)


def test_a_dialogue_becomes_earlier_turns() -> None:
    chat = "Example 1\nUser: Where is my parcel?\nAssistant: Which number?\nUser: It is 12.\nOutput: It arrives today."
    (task,) = run(script([numbered(NEW[:1])], {NEW[0]: chat})).tasks
    assert task.history == (
        Message(role="user", content="Where is my parcel?"),
        Message(role="assistant", content="Which number?"),
    )
    assert (task.input, task.output) == ("It is 12.", "It arrives today.")


@pytest.mark.parametrize("text", ["User: only one speaker\nUser: twice", "Assistant: begins wrongly", "Note\nUser: x", ""])
def test_other_text_than_a_dialogue_stays_one_input(text: str) -> None:
    assert instances.turns(text) == [Message(role="user", content=text)]

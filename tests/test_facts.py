"""How bench/facts.py judges answers and changes documents, and what its questions must not repeat."""

import json
import runpy

import pytest

from stages.format import overlap
from stages.params.compose import ROOT
from stages.records import Task

FACTS = runpy.run_path(str(ROOT / "bench/facts.py"))
Change, changed, gives = FACTS["Change"], FACTS["changed"], FACTS["gives"]
CHANGES = [Change.model_validate_json(line) for line in (ROOT / FACTS["CHANGES"]).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("a fee of $4.50", True),
        ("$4.50.", True),
        ("$14.50", False),
        ("4.50", False),
        ("$4.50, formerly $3.00", False),
        ("I do not know", False),
    ],
)
def test_an_answer_gives_one_value(answer, right):
    assert gives(answer, "$4.50", "$3.00") is right


def test_every_edit_is_made():
    change = Change(source="a", edits={"of 4": "of 6", "4 each": "6 each"}, old="4", new="6", questions=[])
    documents = [{"id": "a", "content": "a limit of 4; 4 each"}, {"id": "b", "content": "a limit of 4"}]
    assert [document["content"] for document in changed(documents, [change])] == ["a limit of 6; 6 each", "a limit of 4"]


@pytest.mark.parametrize("text", ["nothing of it", "a limit of 4 and a fee of 4"])
def test_a_text_that_does_not_stand_once_is_refused(text):
    change = Change(source="a", edits={"of 4": "of 6"}, old="4", new="6", questions=[])
    with pytest.raises(SystemExit, match="it must stand there once"):
        changed([{"id": "a", "content": text}], [change])


def test_ten_documents_change_and_hold_the_answers():
    assert len({change.source for change in CHANGES}) == len(CHANGES) == 10
    for change in CHANGES:
        assert len(change.questions) == 3
        assert any(gives(text, change.old, change.new) for text in change.edits)
        assert any(gives(text, change.new, change.old) for text in change.edits.values())


def test_questions_repeat_no_validation_or_test_question():
    def task(question: str) -> Task:
        return Task(kind="text", instruction=question, output="", source=question)

    lines = [
        line
        for split in ("valid", "test")
        for line in (ROOT / f"data/authored/handbook/{split}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    others = [task(json.loads(line)["question"]) for line in lines]
    asked = [task(question) for change in CHANGES for question in change.questions]
    assert set(overlap.reasons(asked, others, 10)) == {None}

"""Self-KG with a teacher: rewordings keep entities, numbers and negation, or are rejected."""

import re
from collections import Counter
from typing import Any

import pytest

from stages.params import GraphData
from stages.synthesize import self_kg
from stages.synthesize.made import Made
from stages.tasks.questions import GraphQuestion
from tests.fixtures.graphs import Fetched, options, synthesized
from tests.fixtures.scripted import Scripted


def test_rewording_is_kept_if_entities_and_numbers_survive(data: GraphData, fetched: Fetched, made: Made) -> None:
    teacher = Scripted(lambda asked: f"Kindly say: {asked.removeprefix('Write this question in other words: ')}")
    more = synthesized(data, fetched, teacher, reword=20)
    calls = {call.id: call for call in teacher.calls}
    new = [task for task in more.tasks if calls.keys() & set(task.parents)]
    assert len(new) == 20
    assert len(more.tasks) == len(made.tasks) + 20
    assert all(task.instruction.startswith("Kindly say: ") for task in new)
    alone = synthesized(data, fetched, teacher, reword=20, templates=False)
    assert [task.id for task in alone.tasks] == [task.id for task in new]


@pytest.mark.parametrize(
    ("change", "stopped", "filter"),
    [
        (lambda text: text, True, "duplicate"),
        (
            lambda text: re.sub(r"Disease \d+|[A-Z]\w+(-\w+)? (syndrome|disease)|Familial \w+", "it", text),
            True,
            "entities_survived",
        ),
        (lambda text: f"In 1999: {text}", True, "numbers_survived"),
        (lambda text: text, False, "finished"),
        (lambda text: f"{text} Sure", True, "finished"),
        (lambda text: f"Is it not so: {text}", True, "negation_survived"),
        (lambda text: "", True, "finished"),
    ],
)
def test_bad_rewording_is_rejected_by_its_filter(
    data: GraphData, fetched: Fetched, change: Any, stopped: bool, filter: str
) -> None:
    teacher = Scripted(lambda asked: (change(asked.removeprefix("Write this question in other words: ")), stopped))
    made = synthesized(data, fetched, teacher, reword=10, declining=0)
    assert Counter(rejection.filter for rejection in made.rejected if rejection.parents[-1].startswith("call")) == {filter: 10}


@pytest.mark.parametrize(
    ("asked", "reworded", "names", "filter"),
    [
        ("Is Ataxia a sign of Lowe syndrome?", "Does Lowe syndrome come with ataxia?", ("Lowe syndrome", "Ataxia"), None),
        (
            "Is Ataxia a sign of Lowe syndrome?",
            "Does Lowe syndromes bring ataxia?",
            ("Lowe syndrome", "Ataxia"),
            "entities_survived",
        ),
        ("Does Non-ataxic X cause Y?", "Is Y caused by Non-ataxic X?", ("Non-ataxic X", "Y"), None),
        ("Is it true that No tears is a sign of X?", "Does X have No tears as a sign?", ("X", "No tears"), None),
        ("X综合征会引起发热吗？", "X综合征不会引起发热吗？", ("X综合征", "发热"), "negation_survived"),
        ("X综合征会引起发热吗？", "发热是不是X综合征引起的？", ("X综合征", "发热"), None),
    ],
)
def test_a_rewording_keeps_whole_names_and_what_is_denied(
    asked: str, reworded: str, names: tuple[str, ...], filter: str | None
) -> None:
    failure = self_kg._failure(GraphQuestion("yes_no", asked, "Yes.", names, ()), reworded, None, options().filters)
    assert (failure and failure[0]) == filter


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda text: (text, False), "was cut off at max_new_tokens; was"),
        (lambda text: ("", False), "is empty; was"),
        (lambda text: (f"{text} Sure", True), "no whole question; was"),
    ],
)
def test_rejected_rewording_names_the_fault_of_the_reply(data: GraphData, fetched: Fetched, reply: Any, reason: str) -> None:
    made = synthesized(data, fetched, Scripted(reply), reword=3, templates=False, declining=0)
    rejected = [one for one in made.rejected if one.filter == "finished"]
    assert len(rejected) == 3 and all(one.reason.startswith(reason) for one in rejected)


def test_empty_rewording_never_passes(data: GraphData, fetched: Fetched) -> None:
    made = synthesized(data, fetched, Scripted(lambda _: ""), reword=3, templates=False, declining=0, filters=["duplicate"])
    assert made.kept == []
    assert [one.reason.split(";")[0] for one in made.rejected if one.filter == "finished"] == ["is empty"] * 3


def test_quoted_rewording_is_kept_without_its_quotes(data: GraphData, fetched: Fetched) -> None:
    def reply(asked: str) -> str:
        return f"“Kindly say: {asked.removeprefix('Write this question in other words: ')}”"

    made = synthesized(data, fetched, Scripted(reply), reword=3, templates=False, declining=0)
    assert [task.instruction[:12] for task in made.tasks] == ["Kindly say: "] * 3

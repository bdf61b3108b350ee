"""Self-Instruct for complaints with a scripted teacher: its growing pool, its filters, and the funnel that counts both."""

from collections.abc import Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import pytest

from stages import lineage, records
from stages.commands.plan.requests import Planned
from stages.errors import DataError
from stages.fetch import authored
from stages.figures.synthesis import Round
from stages.params import Accents, ComplaintInstruct, ComplaintsData, Sampling, Splits
from stages.records import Call, Document
from stages.synthesize import filters, self_instruct
from stages.synthesize.made import Inputs, Made, Step, funnel
from stages.teachers.teacher import Teacher
from tests.fixtures.asking import FREE
from tests.fixtures.scripted import Scripted

BODIES, LAYOUTS = authored.documents(Path(__file__).parents[2] / "data/authored/complaints", "train")
AUTHORED = {body.text for body in BODIES}
FILTERS = ["finished", "length", "leftovers", "repetition", "novelty"]
GOOD = (
    "The kettle I ordered whistles even when nobody has filled it with water.",
    "Nobody at the counter could explain why our tickets were cancelled twice.",
    "After the repair my radio plays one station only, whatever I turn.",
)


def options_for(**given: Any) -> ComplaintInstruct:
    sampling = Sampling(temperature=1.0, top_p=1.0, presence_penalty=0.0, max_new_tokens=1)
    fixed = {"form": "complaints", "max_rouge_l": 0.7, "max_repetition": 0.2, "filters": FILTERS, "sampling": sampling}
    return ComplaintInstruct.model_validate(fixed | given)


def inputs(seeds: Sequence[Document], data: ComplaintsData | None) -> Inputs:
    return Inputs(seeds=seeds, pool=[], documents=[], facts=[], data=data)  # type: ignore[arg-type]


DATA = ComplaintsData(
    kind="complaints",
    path="unused",
    locale="en_US",
    system="Extract.",
    indent=None,
    rows=Splits(train=1, valid=1, test=1),
    missing=0.2,
    second_email=0.2,
    noise=0.2,
    accents=Accents(locales=["es_ES"], train=0.0, valid=0.0, test=0.0),
    train_hard=1.0,
)


def scripted(answers: Sequence[tuple[str, bool]]) -> Scripted:
    replies = cycle(answers)
    return Scripted(lambda _: next(replies))


def made_by(teacher: Any, calls: int, requests: int = 96, rows: int = 5, seed: int = 1) -> Made:
    options = options_for(calls=calls, requests=requests, human=2, machine=1, min_words=8, max_words=60, rows=rows)
    return self_instruct.run(inputs([*BODIES, *LAYOUTS], DATA), teacher, options, seed)


def run(answers: Sequence[tuple[str, bool]], calls: int, **given: int) -> tuple[Made, Scripted]:
    teacher = scripted(answers)
    return made_by(teacher, calls, **given), teacher


def demonstrations(call: Call) -> set[str]:
    return {message.content for message in call.messages if message.role == "assistant"}


MIXED = [
    (GOOD[0], True),
    (GOOD[0], True),
    (GOOD[1], False),
    ("Too short.", True),
    ("Dear Sir, the kettle I ordered whistles at night and wakes us.", True),
    ("it is bad it is bad it is bad it is bad.", True),
    (BODIES[0].text, True),
    (GOOD[2], True),
]


def test_first_filter_that_objects_rejects() -> None:
    made, teacher = run(MIXED, calls=len(MIXED))
    assert [document.text for document in made.kept] == [GOOD[0], GOOD[2]]
    assert [rejection.filter for rejection in made.rejected] == [
        "novelty",
        "finished",
        "length",
        "leftovers",
        "repetition",
        "novelty",
    ]
    assert all(rejection.reason for rejection in made.rejected)
    parents = [record.parents[0] for record in (*made.kept, *made.rejected)]
    assert sorted(parents) == sorted(call.id for call in teacher.calls)


def test_the_funnel_adds_up() -> None:
    made, teacher = run(MIXED, calls=20)
    listed = funnel("self_instruct", made, len(teacher.calls), "")
    names, counts = [step.stage for step in listed.stages], [step.count for step in listed.stages]
    assert names == ["generated", *FILTERS, "kept"]
    assert counts[0] == listed.calls == 20
    assert counts[-1] == counts[-2] == len(made.kept)
    lost = [before - after for before, after in pairwise(counts[:-1])]
    assert lost == [listed.rejected[name].count for name in FILTERS]
    assert min(lost) >= 1
    assert listed.rows == len(made.tasks) == 5
    assert listed.rejected["length"].examples[0] == "Too short."


def test_rows_trace_back_to_call_and_demonstrations() -> None:
    made, teacher = run([(text, True) for text in GOOD], calls=3, rows=9)
    kept = {document.id: document for document in made.kept}
    known = {document.id for document in (*BODIES, *LAYOUTS)} | {call.id for call in teacher.calls}
    assert len(made.tasks) == 9
    for row in made.tasks:
        body, layout = row.parents
        assert kept[body].text in GOOD
        assert layout in known
        assert set(kept[body].parents) <= known
        assert len(kept[body].parents) == 1 + 3


@pytest.mark.parametrize("answers", [[("", True)], [("No end", True)], [(BODIES[0].text, True)]])
def test_useless_teacher_makes_no_rows(answers: list[tuple[str, bool]]) -> None:
    made, teacher = run(answers, calls=6)
    listed = funnel("self_instruct", made, len(teacher.calls), "")
    assert (made.kept, made.tasks, len(made.rejected)) == ([], [], 6)
    assert listed.stages[-1] == Step(stage="kept", count=0)
    assert listed.rows == 0


@pytest.mark.parametrize(
    ("answer", "filter", "reason"),
    [
        ((GOOD[0], False), "finished", "was cut off at max_new_tokens"),
        (("", False), "finished", "is empty"),
        (("", True), "finished", "is empty"),
        (("No end", True), "finished", "does not end like a sentence"),
        ((f"Thoughts.\n{GOOD[0]}", True), "leftovers", "has a line break"),
    ],
)
def test_rejected_body_names_the_fault_of_the_reply(answer: tuple[str, bool], filter: str, reason: str) -> None:
    made, _ = run([answer], calls=2)
    assert [(one.filter, one.reason) for one in made.rejected] == [(filter, reason)] * 2


def test_empty_body_never_passes() -> None:
    options = options_for(calls=1, requests=1, human=2, machine=1, min_words=1, max_words=60, rows=1, filters=["leftovers"])
    assert self_instruct._rejected_by("", "is empty", options, filters.Novelty([], 0.7)) == ("finished", "is empty")


@pytest.mark.parametrize("marks", ['""', "“”", "„“", "«»", "「」", "''"])
def test_quoted_body_is_kept_without_its_quotes(marks: str) -> None:
    made, _ = run([(f"{marks[0]}{GOOD[0]}{marks[1]}", True)], calls=1)
    assert [document.text for document in made.kept] == [GOOD[0]]


def test_funnel_without_calls_counts_zero() -> None:
    assert funnel("none", Made(), 0, "").stages == [Step(stage="generated", count=0), Step(stage="kept", count=0)]


def test_the_teacher_is_shown_train_bodies_as_turns_of_its_own() -> None:
    _, teacher = run([(GOOD[0], True)], calls=8)
    for call in teacher.calls:
        assert [message.role for message in call.messages] == ["system", *["user", "assistant"] * 3, "user"]
        assert len(demonstrations(call) & AUTHORED) == 3
    assert len({call.messages for call in teacher.calls}) == 8


def test_later_rounds_show_bodies_kept_in_earlier_ones() -> None:
    made, teacher = run([(text, True) for text in GOOD], calls=4, requests=2)
    shown = [demonstrations(call) for call in teacher.calls]
    assert [len(some & AUTHORED) for some in shown] == [3, 3, 2, 2]
    assert all(len(some & set(GOOD[:2])) == 1 for some in shown[2:])
    assert made.figures["by_round"] == [Round(asked=2, kept=2), Round(asked=2, kept=1)]


def test_authored_bodies_replace_missing_kept_ones() -> None:
    _, teacher = run([("Too short.", True)], calls=4, requests=2)
    assert [len(demonstrations(call) & AUTHORED) for call in teacher.calls] == [3] * 4


def test_trace_shows_machine_made_demonstrations(tmp_path: Path) -> None:
    made, teacher = run([(text, True) for text in GOOD], calls=3, requests=1, rows=3)
    for name, found in (("kept", made.kept), ("tasks", made.tasks), ("calls", teacher.calls)):
        records.write(tmp_path / "synthetic/self_instruct" / f"{name}.jsonl", found)
    records.write(tmp_path / "raw/seeds.jsonl", [*BODIES, *LAYOUTS])
    row = next(task for task in made.tasks if task.parents[0] == made.kept[2].id)
    lines = list(lineage.trace(row.id, tmp_path))
    assert [line for line in lines if "not in this run's files" in line] == []
    assert any(f"text: {text}" in line for text in GOOD[:2] for line in lines)


def test_killed_round_asks_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [*GOOD, *(f"{text} Really, {text}" for text in GOOD)]

    def interrupted(_: str) -> str:
        if len(backend.asks) == 3:
            raise KeyboardInterrupt
        return replies[len(backend.asks)]

    backend = Scripted(interrupted)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        made_by(Teacher(backend, FREE, seed=1), calls=6, requests=2)
    resumed = Teacher(scripted([(text, True) for text in replies[3:]]), FREE, seed=1)
    made = made_by(resumed, calls=6, requests=2)
    assert (len(resumed.calls), resumed.asked) == (6, 3)
    assert made.kept == run([(text, True) for text in replies], calls=6, requests=2)[0].kept


def test_spent_budget_ends_between_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = Teacher(scripted([(text, True) for text in GOOD]), FREE.model_copy(update={"max_calls": 2}), seed=1)
    made = made_by(teacher, calls=6, requests=2)
    assert (len(teacher.calls), teacher.spent) == (2, "synthesis.budget.max_calls = 2")
    assert made.figures["by_round"] == [Round(asked=2, kept=2)]


def test_plan_counts_the_requests_of_all_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backend = scripted([(text, True) for text in GOOD])
    made_by(Teacher(backend, FREE, seed=1), calls=2, requests=2)
    planned = Planned(backend, FREE, seed=1)
    made_by(planned, calls=6, requests=2)
    assert (planned.figures().answered, planned.figures().now) == (2, 4)


def test_what_is_asked_depends_on_the_seed_alone() -> None:
    asked = [[call.messages for call in run([(GOOD[0], True)], calls=4, seed=seed)[1].calls] for seed in (1, 1, 2)]
    assert asked[0] == asked[1] != asked[2]


def test_braces_in_a_demonstration_are_text_not_template() -> None:
    body = Document(text="{{ 7 * 7 }} {% raw %}", kind="body", source="s")
    assert self_instruct.prompt([body])[2].content == body.text


@pytest.mark.parametrize("seeds", [[], BODIES, LAYOUTS], ids=["nothing", "no layouts", "no bodies"])
def test_missing_bodies_or_layouts_name_the_option(seeds: list[Document]) -> None:
    options = options_for(calls=1, requests=1, human=1, machine=0, min_words=1, max_words=2, rows=1)
    with pytest.raises(DataError, match="synthesis=none"):
        self_instruct.run(inputs(seeds, None), Scripted(str), options, 1)  # type: ignore[arg-type]

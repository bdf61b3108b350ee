"""`tunetrail trace` and `tunetrail plan`: sources of a record, and requests before they are sent."""

from dataclasses import asdict
from pathlib import Path

import pytest

from stages import lineage, records
from stages.commands.plan import Figures, Planned
from stages.errors import DataError
from stages.params import Budget, Sampling
from stages.records import Document, Example, Fact, Message, Prediction, Task
from stages.teachers.teacher import Ask, Teacher, numbered
from tests.fixtures.scripted import Scripted

DOCUMENT = Document(text="The fee is $5. " * 40, kind="document", source="fees.md")
FACT = Fact(subject="account", relation="has fee", object="$5", source="fees.md")
TASK = Task(
    kind="text", instruction="What is the fee?", output="$5", source="fees.md", parents=(DOCUMENT.id, FACT.id, "call-gone")
)
EXAMPLE = Example(
    kind="text",
    messages=(Message(role="user", content="What is\nthe fee?"), Message(role="assistant", content="$5")),
    source="fees.md",
    parents=(TASK.id,),
)
ANSWER = Prediction(
    example=EXAMPLE.id, system="tuned_42", text="$6", stopped=True, prompt_tokens=1, new_tokens=1, parents=(EXAMPLE.id,)
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    records.write(tmp_path / "predictions/tuned_42.jsonl", [ANSWER])
    records.write(tmp_path / "formatted/test.jsonl", [EXAMPLE])
    records.write(tmp_path / "raw/test.jsonl", [TASK])
    records.write(tmp_path / "raw/documents.jsonl", [DOCUMENT])
    records.write(tmp_path / "raw/facts.jsonl", [FACT])
    return tmp_path


def test_trace_reaches_document_fact_and_missing_record(data: Path) -> None:
    lines = list(lineage.trace(ANSWER.id, data))
    ids = [line.strip().split()[0] for line in lines if not line.startswith("    ") or "-" in line.split()[0]]
    assert [id for id in ids if "-" in id] == [ANSWER.id, EXAMPLE.id, TASK.id, DOCUMENT.id, FACT.id, "call-gone"]
    assert any("user: What is the fee?" in line for line in lines)
    assert any(line.strip() == "relation: has fee" for line in lines)
    assert max(map(len, lines)) < 200
    assert "not in this run's files" in lines[-1]


def test_unique_beginning_of_an_id_is_enough(data: Path) -> None:
    assert list(lineage.trace(ANSWER.id[:9], data)) == list(lineage.trace(ANSWER.id, data))
    with pytest.raises(DataError, match="no record"):
        list(lineage.trace("ex-0000", data))
    with pytest.raises(DataError, match="2 records begin like this"):
        lineage.read(data)
        records.write(data / "raw/train.jsonl", [Task(kind="text", output="x", source="s", instruction="y")])
        list(lineage.trace("task-", data))


def test_shared_parents_are_traced_once(tmp_path: Path) -> None:
    """Sixteen rounds of tasks, each made from the two before, have 65,536 paths but 34 records."""
    made = [Task(kind="text", instruction=f"seed {n}", output="x", source="s") for n in range(2)]
    for round in range(16):
        parents = (made[-1].id, made[-2].id)
        made += [Task(kind="text", instruction=f"{round} {n}", output="x", source="s", parents=parents) for n in range(2)]
    records.write(tmp_path / "raw/pool.jsonl", made)
    lines = list(lineage.trace(made[-1].id, tmp_path))
    assert sum("pool.jsonl" in line for line in lines) == 33
    assert sum("(see above)" in line for line in lines) == 30
    assert sorted(lineage.sources(made[-1].id, lineage.read(tmp_path))) == sorted(task.id for task in made[:2])


def test_bad_line_is_named(data: Path) -> None:
    (data / "raw/facts.jsonl").write_text('{"id": 1}\n[]\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"facts\.jsonl:2: not a record"):
        list(lineage.trace("x", data))


def test_sources_are_the_ends_of_the_trace(data: Path) -> None:
    assert lineage.sources(ANSWER.id, lineage.read(data)) == [DOCUMENT.id, FACT.id]


def wire() -> Scripted:
    """Return a backend that repeats each request."""
    return Scripted(str, price=1.0, prompt_tokens=10, new_tokens=5, retries=1)


SAMPLING = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_new_tokens=20)
ASKS = [Ask((Message(role="user", content=f"q{i}" * 20),), SAMPLING, follow_ups=2) for i in range(5)]
FREE = Budget(max_calls=None, max_tokens=None, max_usd=None)


def test_plan_sends_nothing_and_counts_stored_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backend = wire()
    Teacher(backend, FREE, seed=1).answer(ASKS[:2])
    planned = Planned(backend, FREE, seed=1)
    assert [call is None for call in planned.answer(ASKS)] == [False, False, True, True, True]
    assert planned.figures() == Figures(2, 3, later=6, prompt_tokens=3 * 10 * 3, new_tokens=3 * 20 * 3, usd=0.27, limit="")
    assert len(backend.asks) == 2


def test_plan_counts_chinese_by_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asks = [Ask((Message(role="user", content="账户费用" * (n + 1)),), SAMPLING, follow_ups=2) for n in range(5)]
    planned = Planned(wire(), Budget(max_calls=3, max_tokens=None, max_usd=None), seed=1)
    assert planned.answer(asks) == [None] * 5
    figures = planned.figures()
    assert (figures.now, figures.later, figures.prompt_tokens) == (3, 0, 4 + 8 + 12)


@pytest.mark.parametrize(
    ("limit", "tokens", "usd", "ended_by"),
    [
        ({}, (90, 180), 0.27, ""),
        ({"max_tokens": 165}, (45, 90), 0.135, "synthesis.budget.max_tokens = 165"),
        ({"max_usd": 0.12}, (30, 60), 0.09, "synthesis.budget.max_usd = 0.12"),
        ({"max_tokens": 165, "max_usd": 0.12}, (30, 60), 0.09, "synthesis.budget.max_usd = 0.12"),
        ({"max_tokens": 20}, (0, 0), 0.0, "synthesis.budget.max_tokens = 20"),
        ({"max_tokens": 300, "max_usd": 0.3}, (90, 180), 0.27, ""),
    ],
)
def test_plan_stops_at_the_budget_of_tokens_and_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: dict, tokens: tuple[int, int], usd: float, ended_by: str
) -> None:
    """Stored answers took 30 tokens; the remaining requests need 270."""
    monkeypatch.chdir(tmp_path)
    Teacher(wire(), FREE, seed=1).answer(ASKS[:2])
    planned = Planned(wire(), FREE.model_copy(update=limit), seed=1)
    planned.answer(ASKS)
    figures = planned.figures()
    assert (figures.prompt_tokens, figures.new_tokens) == tokens
    assert (figures.usd, figures.limit, figures.now) == (usd, ended_by, 3)


def test_equal_greedy_requests_are_sent_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backend = wire()
    wave = [[ask] for ask in ASKS[:1] * 4]
    monkeypatch.setattr(backend, "waves", lambda asks: iter([wave if asks == ASKS[:1] * 4 else [[ask] for ask in asks]]))
    assert len({call.id for call in Teacher(backend, FREE, seed=1).answer(ASKS[:1] * 4) if call}) == 1
    assert len(backend.asks) == 1
    drawn = [Ask(ASKS[0].messages, SAMPLING.model_copy(update={"temperature": 0.7}))] * 4
    assert [ask.sample for ask in numbered(drawn)] == [0, 1, 2, 3]
    Teacher(backend, FREE, seed=1).answer(drawn)
    assert len(backend.asks) == 5


@pytest.mark.parametrize(
    "damaged",
    [
        '[{"te',
        "null",
        "[]",
        '["text"]',
        '[{"text": "x"}]',
        '[{"text": "x", "stopped": true, "prompt_tokens": null, "new_tokens": 5, "retries": 0}]',
    ],
)
def test_a_damaged_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = Teacher(wire(), FREE, seed=1)
    teacher.answer(ASKS[:1])
    teacher.stored(ASKS[:1]).write_text(damaged, encoding="utf-8")
    with pytest.raises(DataError, match=r"responses/\w+\.json: a damaged answer; delete this file"):
        teacher.answer(ASKS[:1])


def test_cost_counts_retries_and_money_budget_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = Teacher(wire(), Budget(max_calls=None, max_tokens=None, max_usd=0.03), seed=1)
    assert [call is None for call in teacher.answer(ASKS)] == [False, False, True, True, True]
    assert teacher.spent == "synthesis.budget.max_usd = 0.03"
    spent = {
        "calls": 2,
        "asked": 2,
        "retries": 2,
        "refused": 0,
        "teacher_seconds": 0.0,
        "prompt_tokens": 20,
        "new_tokens": 10,
        "usd": 0.03,
    }
    assert asdict(teacher.cost()) == spent

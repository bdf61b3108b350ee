"""The teacher's store and budget: equal requests are sent once, damaged answers named, and spending stops."""

from pathlib import Path

import pytest

from stages.errors import DataError
from stages.params import Budget
from stages.teachers.teacher import Ask, Teacher, numbered
from tests.fixtures.asking import ASKS, FREE, SAMPLING, wire


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
    assert teacher.cost().model_dump() == spent

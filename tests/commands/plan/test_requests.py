"""tunetrail plan: what a synthesis would request, and its cost, without a request."""

from pathlib import Path

import pytest

from stages.commands.plan.requests import Estimate, Planned
from stages.params import Budget
from stages.records import Message
from stages.teachers.teacher import Ask, Teacher
from tests.fixtures.asking import ASKS, FREE, SAMPLING, wire


def test_plan_sends_nothing_and_counts_stored_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backend = wire()
    Teacher(backend, FREE, seed=1).answer(ASKS[:2])
    planned = Planned(backend, FREE, seed=1)
    assert [call is None for call in planned.answer(ASKS)] == [False, False, True, True, True]
    assert planned.figures() == Estimate(2, 3, later=6, prompt_tokens=3 * 10 * 3, new_tokens=3 * 20 * 3, usd=0.27, limit="")
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

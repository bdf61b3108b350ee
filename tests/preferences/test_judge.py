"""Pairs from a teacher that compares two samples: both orders, its biases, and what its verdicts are worth."""

import re
from collections.abc import Callable
from typing import Any

from stages.figures.preferences import Judged
from stages.preferences import judge
from stages.preferences.made import Made
from stages.records import Example
from tests.fixtures.scripted import Scripted
from tests.preferences.conftest import complaint, row, samples


def judged(
    reply: Callable[[str, str], str | None], given: dict[Example, list[str]], prompts: int = 9
) -> tuple[Made, Judged, Scripted]:
    def answer(prompt: str) -> str | None:
        return reply(*(re.findall(rf"<answer_{name}-\w+>\n(.*?)\n</", prompt, re.DOTALL)[0] for name in "ab"))

    teacher = Scripted(answer)
    asked: Any = teacher
    answers = [sample for example, texts in given.items() for sample in samples(example, *texts)]
    return *judge.made(list(given), answers, asked, prompts, 64), teacher


def longest(a: str, b: str) -> str:
    return "Verdict: " + ("A" if len(a) > len(b) else "B")


def test_pair_needs_the_same_verdict_in_both_orders() -> None:
    found, figures, teacher = judged(longest, {row(1, "yes", "text"): ["no, not at all", "yes"]})
    (pair,) = found.pairs
    assert (pair.chosen, pair.rejected, pair.source) == ("no, not at all", "yes", "judge")
    assert pair.parents[2:] == tuple(call.id for call in teacher.calls)
    assert (figures.wins, figures.consistency, figures.first_shown, figures.longer_won) == (1, 1.0, 0.5, 1.0)
    assert (figures.compared, figures.agreement) == (1, 0.0)


def test_judge_does_not_see_the_reference() -> None:
    _, _, teacher = judged(longest, {row(1, "the secret reference", "text"): ["no", "yes"]})
    assert [ask.sampling.max_new_tokens for ask in teacher.asks] == [64, 64]
    assert not any("secret" in prompt or "reference" in prompt for prompt in teacher.prompts)


def test_candidates_without_a_winner_are_counted() -> None:
    replies = {"tie": "Verdict: tie", "first": "Verdict: A", "mute": "Hm."}
    rows = {row(i, "yes", "text"): [f"{name} 1", f"{name} 2"] for i, name in enumerate(replies)}
    found, figures, _ = judged(lambda a, b: replies[a.split()[0]], rows | {row(9, "yes", "text"): ["x", "x"]})
    assert found.pairs == []
    assert found.dropped == {"tie": 1, "inconsistent verdicts": 1, "no verdict": 1, "equal texts": 1}
    assert (found.candidates, figures.prompts, figures.consistency, figures.agreement) == (4, 3, 0.5, None)


def test_wins_are_counted_by_length() -> None:
    rows = {row(1): [complaint(4), complaint(4)[:-1] + " }"], row(2): ["x", complaint(1)]}
    found, figures, _ = judged(longest, rows)
    wins = {item.ratio: (item.wins, item.longer_won) for item in figures.by_length}
    assert wins == {"up to 1.1": (1, 1.0), "1.1 to 1.5": (0, None), "above 1.5": (1, 1.0)}
    assert (figures.compared, figures.agreement) == (1, 1.0)  # equal scores confirm nothing
    assert len(found.pairs) == 2


def test_no_more_prompts_are_judged_than_asked_for() -> None:
    found, figures, teacher = judged(longest, {row(i): ["x", "yy"] for i in range(5)}, prompts=2)
    assert (found.candidates, figures.prompts, len(teacher.calls)) == (2, 2, 4)

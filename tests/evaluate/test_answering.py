"""Answers to questions: by words, and whether they decline when, and only when, they should."""

from typing import Any

import pytest

from stages.evaluate import answering
from stages.text.declining import declines


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "f1"),
    [
        ("The parcel is late.", "the PARCEL is late", 1, 1.0),
        ("the parcel", "the parcel is late", 0, 2 * 2 / 6),
        ("late late late", "late", 0, 2 * 1 / 4),
        ("late is the parcel", "the parcel is late", 0, 1.0),
        ("something else", "the parcel is late", 0, 0.0),
        ("", "the parcel is late", 0, 0.0),
        ("the parcel is late", "", 0, 0.0),
        ("", "", 1, 1.0),
        ("耳机没有收到。", "耳机没有收到", 1, 1.0),
        ("耳机收到", "耳机没有收到", 0, 2 * 4 / 10),
        ("Größe XL", "größe xl", 1, 1.0),
        ("yes", "no", 0, 0.0),
        ("+", "-", 0, 0.0),
        ("👍", "👎", 0, 0.0),
    ],
)
def test_text_is_scored_by_its_words(answer: str, reference: str, exact: int, f1: float, item: Any) -> None:
    found, _ = answering.score(*item("text", reference, answer))
    assert found["exact_match"] == exact
    assert found["token_f1"] == pytest.approx(f1)


@pytest.mark.parametrize(
    "answer",
    [
        "I don't know.",
        "I don’t know the fee of this card.",
        "Sorry. I cannot answer that question.",
        "This question is outside the scope of the handbook, so I cannot say.",
        "我不知道这个问题的答案。",
        "很抱歉，我无法回答这个问题。",
        "對不起，這個問題我無法回答。",
        "I won't help with that.",
        "I will not provide that.",
        "I refuse to help.",
        "The document doesn't mention that.",
        "The passage does not mention this.",
        "I don't have that information.",
        "I do not have information about that.",
        "That is not specified.",
        "Sorry. It's not stated.",
        "Unanswerable",
        "I can't help with that.",
        "文中没有说明。",
        "无法确定",
        "根据资料，無法確定。",
        "很抱歉，不能帮你",
    ],
)
def test_phrases_that_decline(answer: str) -> None:
    assert declines(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The fee is 5 dollars.",
        "Customers who cannot log in should call support.",
        "If you don't know your number, look at the card.",
        "The fee is 5 dollars. It is due in May. I don't know of any other.",
        "费用是五元。",
        "I can't wait to help! Here is how it is done.",
        "I cannot stress enough how easy it is.",
        "I can't help but smile. Here is how it is done.",
        "I won't go into detail: mix both.",
        "A cost that is not specified is yours.",
        "Water damage? It is not covered.",
        "I don't have to tell you twice: it is 5 dollars.",
        "顾客没有说明原因。",
        "如果无法确定尺寸，请看表。",
        "抱歉，不能退款。",
    ],
)
def test_phrases_that_do_not_decline(answer: str) -> None:
    assert not declines(answer)


def test_declining_is_right_only_without_an_answer(item: Any) -> None:
    def scores(answer: str, *slices: str) -> dict[str, float]:
        return answering.score(*item("text", "5 dollars", answer, slices=slices))[0]

    assert scores("I don't know.", "unanswerable") == {"declined": 1.0}
    assert scores("7 dollars", "unanswerable") == {"declined": 0.0}
    assert scores("5 dollars", "unanswerable") == {"declined": 1.0}  # the reference itself, whatever its words are
    assert scores("I don't know.", "out_of_domain") == {"declined": 1.0}
    assert scores("I don't know.", "noise")["answered"] == 0.0
    assert scores("7 dollars", "noise")["answered"] == 1.0


@pytest.mark.parametrize("answer", ["", " \n"])
def test_empty_answer_neither_answers_nor_declines(answer: str, item: Any) -> None:
    rows = [item("text", "5 dollars", answer, slices=names) for names in (("unanswerable",), ())]
    assert [answering.score(*row)[0].get(name) for row, name in zip(rows, ("declined", "answered"), strict=True)] == [0.0, 0.0]
    assert answering.totals(*zip(*rows, strict=True)) == {"decline_balanced": 0.0}


def test_declining_always_is_worth_one_half(item: Any) -> None:
    answers = ["I don't know."] * 4
    slices = [("unanswerable",), ("out_of_domain",), (), ()]
    rows = [item("text", "5 dollars", answer, slices=names) for answer, names in zip(answers, slices, strict=True)]
    assert answering.totals(*zip(*rows, strict=True)) == {"decline_balanced": 0.5}
    assert answering.totals(*zip(*rows[2:], strict=True)) == {}

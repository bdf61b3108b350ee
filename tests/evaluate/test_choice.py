"""Closed questions: which choice an answer names, what the likelihoods say, and how well the model knows what it knows."""

from math import log
from typing import Any

import pytest

from stages.errors import DataError
from stages.evaluate import choice

DRUGS = tuple(f"The correct answer is {drug}." for drug in ("Ampicillin", "Nitrofurantoin", "Vitamin B", "Vitamin B complex"))
SPAM = ("spam", "not spam")


@pytest.mark.parametrize(
    ("answer", "position"),
    [
        ("The correct answer is Nitrofurantoin.", 1),
        ("the correct answer is  nitrofurantoin", 1),
        ("I think: The correct answer is Ampicillin. It is cheap.", 0),
        ("Nitrofurantoin", 1),
        ("It must be nitrofurantoin, given in pregnancy.", 1),
        ("B", 1),
        ("(B)", 1),
        ("B. Nitrofurantoin", 1),
        ("The answer is B", 1),
        ("The correct answer is (A).", 0),
        ("答案是B", 1),
        ("答案是：B。", 1),
        ("Answer: B", 1),
        ("The answer is: B", 1),
        ("The correct answer is **B**", 1),
        ("Option B", 1),
        ("Option A is right", 0),
        ("The correct option is C", 2),
        ("answer: b)", 1),
        ("Answer: a.", 0),
        ("Option A or option B", None),
        ("Vitamin B complex", 3),
        ("Vitamin B", 2),
        ("Ampicillin or Nitrofurantoin", None),
        ("A. Ampicillin\nB. Nitrofurantoin\nC. Vitamin B", None),
        ("The answer is A good question", None),
        ("Answer: A good question", None),
        ("The answer is a (rare) drug", None),
        ("The answer is b.i.d. dosing", None),
        ("G", None),
        ("Penicillin", None),
        ("", None),
    ],
)
def test_an_answer_names_one_choice_or_none(answer: str, position: int | None) -> None:
    assert choice.named(answer, DRUGS, by_letter=True) == position


@pytest.mark.parametrize(
    ("answer", "position"),
    [
        ("The answer is B. Paris is in France.", 1),
        ("B) because Paris is in France", 1),
        ("B\n\nExplanation: Paris is not the capital", 1),
        ("B. Berlin. Paris is the capital of France.", 1),
        ("The answer is A because it is so", 0),
        ("The answer is A, since Rome is in Italy.", 0),
        ("C is correct", 2),
        ("I would choose A.", 0),
        ("It's C", 2),
        (r"$\boxed{C}$", 2),
        ("A river is in Paris and in Rome.", None),
        ("It is A river town.", None),
        ("C is not correct", None),
        ("I would not choose A.", None),
        ("B. Berlin\nC. Rome\nParis is the capital.", None),
    ],
)
def test_a_stated_letter_counts_before_its_explanation(answer: str, position: int | None) -> None:
    assert choice.named(answer, ("Paris", "Berlin", "Rome", "Madrid"), by_letter=True) == position


@pytest.mark.parametrize("answer", ["C. difficile is the cause", "The answer is C. difficile", "B. It is C. difficile"])
def test_a_letter_within_an_option_is_not_stated(answer: str) -> None:
    assert choice.named(answer, ("E. coli", "C. difficile", "S. aureus"), by_letter=True) == 1


@pytest.mark.parametrize(
    ("answer", "position"), [("Spam!", 0), ("This is not spam.", 1), ("It is spam", 0), ("A", None), ("not clear", None)]
)
def test_labels_are_named_by_their_words_alone(answer: str, position: int | None) -> None:
    assert choice.named(answer, SPAM, by_letter=False) == position


def test_accuracy_by_answer_likelihood_and_token_likelihood(item: Any) -> None:
    asked = item("choice", "b b b b", "a", choices=("a", "b b b b"), choice_logprobs=(-1.0, -2.0), choice_tokens=(1, 4))
    scores, measures = choice.score(*asked)
    assert scores == {"accuracy": 0.0, "logprob_accuracy": 0.0, "logprob_accuracy_norm": 1.0}
    assert measures["disagreement"] == 0.0


def test_without_likelihoods_only_the_answer_counts(item: Any) -> None:
    assert choice.score(*item("choice", "yes", "Yes.", choices=("yes", "no"))) == ({"accuracy": 1.0}, {})


def test_a_reference_outside_its_choices_is_refused(item: Any) -> None:
    with pytest.raises(DataError, match="'maybe' is not among its choices"):
        choice.score(*item("choice", "maybe", "yes", choices=("yes", "no")))


def sure(item: Any, chance: float, right: bool, answer: str = "yes") -> Any:
    """A question on which the model gives `yes` this chance."""
    logprobs = (log(chance) - 50, log(1 - chance) - 50)
    reference = "yes" if right else "no"
    return item("choice", reference, answer, choices=("yes", "no"), choice_logprobs=logprobs, choice_tokens=(1, 1))


def test_calibration_compares_confidence_with_accuracy(item: Any) -> None:
    rows = [sure(item, 0.75, right=True)] * 3 + [sure(item, 0.75, right=False)] + [sure(item, 0.95, right=False, answer="no")]
    found = choice.totals(*zip(*rows, strict=True))
    assert choice.reliability(*zip(*rows, strict=True)) == [
        {"confidence": 0.75, "accuracy": 0.75, "count": 4},
        {"confidence": 0.95, "accuracy": 0.0, "count": 1},
    ]
    assert found["ece"] == pytest.approx(0.95 / 5)
    assert found["brier"] == pytest.approx((3 * 2 * 0.25**2 + 2 * 0.75**2 + 2 * 0.95**2) / 5)
    assert found["disagreement"] == pytest.approx(1 / 5)


def test_full_certainty_falls_into_the_last_bin(item: Any) -> None:
    logprobs = (0.0, -1e9)
    row = item("choice", "yes", "yes", choices=("yes", "no"), choice_logprobs=logprobs, choice_tokens=(1, 1))
    assert choice.reliability([row[0]], [row[1]]) == [{"confidence": 1.0, "accuracy": 1.0, "count": 1}]


def test_macro_f1_weighs_every_label_the_same(item: Any) -> None:
    answers = [("spam", "spam"), ("not spam", "not spam"), ("not spam", "spam"), ("not spam", "no idea")]
    rows = [item("classification", actual, answer, choices=SPAM) for actual, answer in answers]
    columns = tuple(zip(*rows, strict=True))
    assert [(row["actual"], row["predicted"]) for row in choice.confusion(*columns)] == [*answers[:3], ("not spam", "(none)")]
    assert choice.totals(*columns) == {"macro_f1": pytest.approx((2 / 3 + 2 / 4) / 2)}


PEAR, PLUM = "The correct answer is pear.", "The correct answer is plum."


def in_order(item: Any, options: tuple[str, str], answer: str, likely: int, stem: str = "Which?") -> Any:
    """A question that lists its options in this order, the answer to it, and the position of the likeliest option."""
    example, prediction = item(
        "choice",
        PEAR,
        answer,
        choices=options,
        choice_logprobs=tuple(-float(i != likely) for i in range(2)),
        choice_tokens=(5, 5),
    )
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip("AB", options, strict=True))
    asked = example.messages[0].model_copy(update={"content": f"{stem}\n\nOptions:\n{listed}\n\nPlease choose."})
    return example.model_copy(update={"messages": (asked, example.messages[1])}), prediction


def test_orders_agree_on_the_same_option_not_letter(item: Any) -> None:
    rows = [
        in_order(item, (PEAR, PLUM), "A", likely=0),
        in_order(item, (PLUM, PEAR), PEAR, likely=0),
        in_order(item, (PEAR, PLUM), "A", likely=1, stem="Which other?"),
        in_order(item, (PLUM, PEAR), "A", likely=0, stem="Which other?"),
        in_order(item, (PEAR, PLUM), "no idea", likely=0, stem="And which?"),
        in_order(item, (PLUM, PEAR), "no idea", likely=1, stem="And which?"),
        in_order(item, (PEAR, PLUM), "A", likely=0, stem="In one order"),
    ]
    assert choice.order_agreement(*zip(*rows, strict=True)) == {
        "order_agreement": pytest.approx(1 / 3),
        "logprob_order_agreement": pytest.approx(2 / 3),
    }


def test_without_several_orders_there_is_no_agreement(item: Any) -> None:
    row = in_order(item, (PEAR, PLUM), "A", likely=0)
    assert choice.order_agreement([row[0]] * 2, [row[1]] * 2) == {}


NESTED = [
    ("10", "10%"),
    ("yes", "yes, but not now"),
    ("York", "New York"),
    ("> 5", "< 5"),
    ("> 5", "5"),
    ("1/2", "1/2 kg"),
    ("x", "!x"),
    ("f", "f'"),
    ("None", "none of these"),
]


@pytest.mark.parametrize("options", NESTED, ids=str)
def test_bare_option_within_another_one_is_named(options: tuple[str, str]) -> None:
    choices = tuple(f"The correct answer is {option}." for option in options)
    assert [choice.named(option, choices, by_letter=True) for option in options] == [0, 1]
    assert [choice.named(option, options, by_letter=False) for option in options] == [0, 1]


def test_letter_counts_before_the_end_of_an_option() -> None:
    choices = tuple(f"The correct answer is vitamin {option}." for option in "BAC")
    assert choice.named("A", choices, by_letter=True) == 0


@pytest.mark.parametrize(
    ("answer", "options"),
    [("[100,200]", ("[200, 100]", "[100, 200]")), ("x = - 3", ("x = 3", "x = -3")), ("aa", ("Aa", "aa")), ("- 3", ("3", "-3"))],
)
def test_whole_option_is_named_in_spite_of_blanks(answer: str, options: tuple[str, str]) -> None:
    assert choice.named(answer, options, by_letter=True) == 1

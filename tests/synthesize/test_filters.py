"""The filters of synthetic texts."""

import random
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from stages.fetch import authored
from stages.synthesize import filters
from stages.text import rouge

BODIES, _ = authored.documents(Path(__file__).parents[2] / "data/authored/complaints", "train")
WORDS = ("the", "parcel", "was", "late", "and", "nobody", "called", "me", "back", "about", "refund")
GOOD = "The kettle I ordered whistles even when nobody has filled it with water."


@pytest.mark.parametrize(
    ("text", "stopped", "passes"),
    [
        ("It broke.", True, True),
        ("It broke!", True, True),
        ("Why did it break?", True, True),
        ("到现在还没有收到。", True, True),
        ("为什么？", True, True),
        ("It broke.", False, False),
        ("It broke", True, False),
        ("It broke,", True, False),
        ("", True, False),
    ],
)
def test_finished_needs_a_sentence_end_by_the_teacher(text: str, stopped: bool, passes: bool) -> None:
    assert (filters.finished(text, None if stopped else "was cut off") is None) == passes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("one two", "2 words, allowed are 3 to 5"),
        ("one two three", None),
        ("One, two; three - four five!", None),
        ("one two three four five six", "6 words, allowed are 3 to 5"),
        ("", "0 words, allowed are 3 to 5"),
        ("没有收到", None),
    ],
)
def test_length_counts_words_and_names_the_limits(text: str, reason: str | None) -> None:
    assert filters.length(text, 3, 5) == reason


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Write to me@home.example please.", "@"),
        ("See https://example.org for it.", "https:"),
        ("I am [Your Name] and angry.", "[Your Name]"),
        ("Send it to {address} now.", "{"),
        ("This is **bad** service.", "**"),
        ("Call me at 555-1234 today.", "555-1234"),
        ("I live in Springfield, IL 62704 now.", "IL 62704"),
        ("Dear team, it broke.", "Dear"),
        ("It broke. Sincerely, a customer.", "Sincerely"),
        ("Subject: my parcel is late.", "Subject:"),
        ("I asked Mr. Miller about it.", "Mr"),
        ("My name is not your concern.", "My name is"),
        ("Sure! It broke yesterday.", "Sure"),
        ("Here is a new complaint: it broke.", "Here is"),
        ("As an AI I cannot complain.", "As an AI"),
        ("It broke.\nTwice.", "line break"),
    ],
)
def test_leftovers_name_what_a_body_must_not_have(text: str, found: str) -> None:
    reason = filters.leftovers(text)
    assert reason is not None
    assert found in reason


@pytest.mark.parametrize(
    "text",
    [
        "The meter jumped from 10450 to 12345 in 14 days.",
        "I was charged $1,299.00 on 14 March for a bill of 12345 points.",
        "My address book, the dearest thing I own, was deleted by your update.",
        "The nurse wrote the drug was missing; mysteriously, it came back.",
        "I am not sure why the waiting room here is locked at noon.",
    ],
)
def test_ordinary_sentences_are_not_leftovers(text: str) -> None:
    assert filters.leftovers(text) is None


def test_authored_bodies_pass_the_filters() -> None:
    refused = {
        body.text: reason
        for body in BODIES
        for reason in (
            filters.finished(body.text, None),
            filters.length(body.text, 8, 60),
            filters.leftovers(body.text),
            filters.repetition(body.text, 0.2),
        )
        if reason
    }
    assert refused == {}


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a b c d e f", None),
        ("a b", None),
        ("", None),
        ("it is bad it is bad it is bad", "0.57"),
        ("a b c x a b c", None),
        ("a b c d a b c d", "0.33"),
    ],
)
def test_repetition_is_the_share_of_trigrams_seen_before(text: str, share: str | None) -> None:
    reason = filters.repetition(text, 0.2)
    assert reason is None if share is None else reason is not None and reason.startswith(share)


def random_texts(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(count)]


@pytest.mark.parametrize("texts", [random_texts(60, 1), [body.text for body in BODIES[:60]]], ids=["random", "authored"])
def test_rouge_l_is_that_of_rouge_score(texts: list[str]) -> None:
    scorer, rng = RougeScorer(["rougeL"]), random.Random(2)
    for _ in range(400):
        a, b = rng.choice(texts), rng.choice(texts)
        expected = scorer.score(a, b)["rougeL"].fmeasure
        assert rouge.rouge_l(filters.tokens(a), filters.tokens(b)) == pytest.approx(expected, abs=1e-9)


def test_rouge_l_sees_chinese_where_rouge_score_is_blind() -> None:
    a, b = filters.tokens("耳机还没有收到"), filters.tokens("耳机已经收到")
    assert rouge.rouge_l(a, b) == pytest.approx(2 * 4 / (7 + 6))
    assert rouge.rouge_l(a, a) == 1.0


def test_pruning_changes_no_decision_at_any_threshold() -> None:
    """A text of k words and itself with more words have ROUGE-L 2k/total, the highest that pruning must keep."""
    texts = ["w " * count for count in range(61)]
    wrong = [
        (highest, k, total)
        for highest in (percent / 100 for percent in range(1, 101, 7))
        for total in range(2, 61)
        for k in range(1, total // 2 + 1)
        if (filters.Novelty([texts[k]], highest).check(texts[total - k]) is not None) != (2 * k / total >= highest)
    ]
    assert wrong == []


def test_nearest_is_the_highest_rouge_l_and_zero_without_words() -> None:
    novelty = filters.Novelty(["a b c d", "a x", "", "。"], 0.7)
    assert novelty.nearest("a b") == pytest.approx(2 / 3)
    assert novelty.nearest("q") == novelty.nearest("") == filters.Novelty([], 0.7).nearest("a") == 0


def test_text_without_words_resembles_none() -> None:
    assert filters.Novelty(["", "。。"], 0.1).check("!!") is None


def test_large_vocabulary_has_distinct_characters() -> None:
    novelty = filters.Novelty([" ".join(f"w{n}" for n in range(70_000))], 0.5)
    assert novelty.check("w55296 w57343 w69999") is None
    novelty.add("w55296 w57343 w69999")
    assert novelty.check("w55296 w57343 w69998") is not None
    assert novelty.check("w55297 w57342 w69998") is None


@pytest.mark.parametrize("highest", [0.3, 0.5, 0.7])
def test_novelty_decides_like_brute_force(highest: float) -> None:
    scorer, seen = RougeScorer(["rougeL"]), [body.text for body in BODIES[:15]]
    novelty = filters.Novelty(seen, highest)
    new = random_texts(40, 3) + [body.text for body in BODIES[10:25]] + [f"{body.text} Really." for body in BODIES[:5]]
    for text in new:
        near = any(scorer.score(text, other)["rougeL"].fmeasure >= highest - 1e-12 for other in seen)
        assert (novelty.check(text) is not None) == near, text
        if not near:
            novelty.add(text)
            seen.append(text)
    assert 20 < len(seen) < 15 + len(new)


def test_check_does_not_add_the_text() -> None:
    novelty = filters.Novelty([], 0.7)
    assert novelty.check(GOOD) is None
    assert novelty.check(GOOD) is None
    novelty.add(GOOD)
    assert GOOD in str(novelty.check(GOOD.upper()))

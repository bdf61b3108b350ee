"""ROUGE in any language: worked examples, the reference implementation's numbers, identical texts."""

from typing import Any

import pytest

from stages.evaluate import metrics, rouge
from stages.text.words import sentences, tokens

SAMPLE = "Amanda baked cookies, and she'll bring Jerry some tomorrow! It is 5.30 p.m. - don't wait; re-read e_mail 2."
OTHER = "Amanda baked some cookies. She brings them to Jerry tomorrow."


def test_one_word_more_than_the_reference_costs_precision_alone() -> None:
    """Reference 我 喜歡 喝 茶, candidate 我 很 喜歡 喝 茶, words apart: recall 4/4, precision 4/5, F1 0.889."""
    found = rouge.rouge("我 很 喜歡 喝 茶", "我 喜歡 喝 茶", tokenize=str.split)
    for name in ("rouge_1", "rouge_l"):
        assert found[name] == pytest.approx((4 / 5, 1, 8 / 9))
    assert found["rouge_2"] == pytest.approx((2 / 4, 2 / 3, 4 / 7))
    assert rouge.rouge_s(["我", "很", "喜歡", "喝", "茶"], ["我", "喜歡", "喝", "茶"]) == pytest.approx((6 / 10, 1, 0.75))


def test_skip_bigrams_are_those_of_the_paper() -> None:
    """Lin 2004 (W04-1013), section 5: S1 police killed the gunman; S2 police kill the gunman; S3 the gunman kill police; S4."""
    first = ["police", "killed", "the", "gunman"]
    expected = {"police kill the gunman": 0.5, "the gunman kill police": 1 / 6, "the gunman police killed": 1 / 3}
    assert {text: rouge.rouge_s(text.split(), first).f1 for text in expected} == pytest.approx(expected)


def test_repeated_skip_bigrams_count_as_often_as_both_have_them() -> None:
    """The numbers of rouge-metric 1.0.1 without a limit to the gap."""
    given, right = tokens("the cat sat on the mat and the dog"), tokens("the dog and the cat sat on a mat the")
    assert rouge.rouge_s(given, right) == pytest.approx((0.5833333333333334, 0.4666666666666667, 0.5185185185185186))


def test_weighted_subsequences_are_those_of_the_paper() -> None:
    """Lin 2004 (W04-1013), section 4, f(k) = k²: one answer has A B C D as a run, the other apart."""
    expected = {"A B C D H I K": 0.571, "A H B K C I D": 0.286}
    found = {text: rouge.rouge_w(text.split(), list("ABCDEFG"), weight=2) for text in expected}
    assert {text: rates.f1 for text, rates in found.items()} == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ("answer", "reference", "precision", "recall"),
    [
        ("police kill the gunman", "police killed the gunman", 0.67569287937115, 0.67569287937115),
        ("the gunman police killed", "police killed the gunman", 0.5, 0.5),
        ("the cat sat on the mat today", "yesterday the cat sat by the mat", 0.6389130208686157, 0.6389130208686157),
        ("she brings some cookies to jerry", "baked cookies and she will bring jerry some", 0.29696623938, 0.222724679535),
        ("the train was late again", "she wrote that the train was late", 0.8, 0.5714285714285714),
    ],
)
def test_weighted_precision_is_that_of_rouge_metric(answer: str, reference: str, precision: float, recall: float) -> None:
    """The precision of rouge-metric 1.0.1, as recall with the texts exchanged; its recall weights the length twice."""
    found = rouge.rouge_w(tokens(answer), tokens(reference))
    assert found[:2] == pytest.approx((precision, recall))


def test_equal_words_extend_a_subsequence_at_any_weight() -> None:
    """The table of rouge-metric 1.0.1 ends with 2, not with the 2**1.2 of the run a b; exchanged texts exchange the rates."""
    rates = ((2 / 3**1.2) ** (1 / 1.2), (2 / 2**1.2) ** (1 / 1.2))
    assert rouge.rouge_w(["a", "b", "b"], ["a", "b"])[:2] == pytest.approx(rates)
    assert rouge.rouge_w(["a", "b"], ["a", "b", "b"])[:2] == pytest.approx(rates[::-1])


def test_rounding_lifts_no_rate_above_one() -> None:
    words = [str(number) for number in range(60)]
    assert {rouge.rouge_w(words[:count], words).precision for count in range(1, 60)} == {1.0}


def test_a_character_is_a_word_of_a_weighted_subsequence(item: Any) -> None:
    scores, _ = rouge.score(*item("summary", "他没有收到耳机", "耳机没有收到"))
    assert scores["rouge_w"] == pytest.approx(2 * 4 / (6 + 7))  # the run 没有收到


SAME = ["耳机没有收到。", "Das Päckchen kam zu spät.", "荷物は届きました", "소포가 늦었다", SAMPLE]


@pytest.mark.parametrize("text", SAME)
def test_a_text_agrees_fully_with_itself_in_any_language(text: str, item: Any) -> None:
    scores, measures = rouge.score(*item("summary", text, text))
    assert scores == pytest.approx(dict.fromkeys(("rouge_1", "rouge_2", "rouge_l", "rouge_lsum", "rouge_w", "rouge_s"), 1.0))
    assert set(measures.values()) == {1.0}


def test_totals_are_the_means_of_precision_and_recall(item: Any) -> None:
    rows = [item("summary", "a b c d", "a b"), item("summary", "a b", "a b c d")]
    found = metrics.totals(*zip(*rows, strict=True))
    assert (found["rouge_1_precision"], found["rouge_1_recall"]) == (0.75, 0.75)
    assert found["rouge_2_recall"] == pytest.approx((1 / 3 + 1) / 2, abs=1e-6)
    assert found["rouge_s_precision"] == pytest.approx((1 + 1 / 6) / 2, abs=1e-6)
    names = {f"rouge_{kind}_{rate}" for kind in ("1", "2", "l", "lsum", "w", "s") for rate in ("precision", "recall")}
    assert {name for name in found if name.startswith("rouge")} == names


@pytest.mark.parametrize("answer", ["", "。", "word", "完全不同"])
def test_nothing_in_common_is_zero_and_no_error(answer: str, item: Any) -> None:
    scores, _ = rouge.score(*item("summary", OTHER, answer))
    assert set(scores.values()) == {0.0}


def test_english_gives_the_numbers_of_rouge_score_itself() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(OTHER, SAMPLE)
    ours = rouge.rouge(SAMPLE, OTHER)
    assert [ours[name] for name in ("rouge_1", "rouge_2", "rouge_l")] == [tuple(rates) for rates in theirs.values()]


def test_lsum_allows_sentences_in_another_order() -> None:
    found = rouge.rouge("She left early. Tom stayed.", "Tom stayed. She left early.")
    assert found["rouge_lsum"].f1 == 1.0 > found["rouge_l"].f1


def test_words_keep_accents_and_characters_stand_alone() -> None:
    assert tokens("Größe XL: 你好, Été_2 4G手机") == ["größe", "xl", "你", "好", "été", "2", "4g", "手", "机"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("It costs 5.30 now. Really?! Yes", ["It costs 5.30 now.", "Really?!", "Yes"]),
        ("我收到了。谢谢！好", ["我收到了。", "谢谢！", "好"]),
        ("one\ntwo", ["one", "two"]),
        (" \n", []),
    ],
)
def test_sentences_end_with_their_mark_or_their_line(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts

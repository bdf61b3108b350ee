"""Translations: sacrebleu's numbers, its tokenizer chosen by the language of the references."""

from math import exp
from typing import Any

import pytest

from stages.evaluate import translation
from stages.text.words import script


def totals(item: Any, *pairs: tuple[str, str]) -> dict[str, Any]:
    rows = [item("translation", reference, answer) for answer, reference in pairs]
    return translation.totals(*zip(*rows, strict=True))


def test_missing_words_lower_bleu_by_the_brevity_penalty(item: Any) -> None:
    """Le chat sur le tapis has 5 words, Le chat s'est assis sur le tapis 7."""
    short, whole = "Le chat sur le tapis", "Le chat s'est assis sur le tapis"
    found = totals(item, (short, whole))
    assert found["bleu_brevity_penalty"] == pytest.approx(exp(1 - 7 / 5))
    assert 0 < found["bleu"] < 100 * found["bleu_brevity_penalty"]
    assert totals(item, (whole, whole))["bleu"] == pytest.approx(100)


def test_chinese_counts_characters_as_the_signature_shows(item: Any) -> None:
    found = totals(item, ("我昨天没有收到耳机。", "我昨天还没有收到耳机。"))
    assert "tok:zh" in found["bleu_signature"]
    assert found["bleu"] > 40
    assert "tok:13a" in totals(item, ("late", "too late"))["bleu_signature"]
    assert "nc:6" in found["chrf_signature"]


@pytest.mark.parametrize(("answer", "whole"), [("Der Zug kommt spät.", 1.0), ("xyz", 0.0), ("", 0.0)])
def test_single_translations_lie_between_0_and_1(answer: str, whole: float, item: Any) -> None:
    scores, _ = translation.score(*item("translation", "Der Zug kommt spät.", answer))
    assert scores == pytest.approx({"sentence_chrf": whole, "sentence_bleu": whole})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mr 王 called twice today", "other"),
        ("耳机没有收到", "zh"),
        ("荷物がまだ届きません", "ja"),
        ("소포가 늦었다", "ko"),
        ("", "other"),
    ],
)
def test_the_script_is_that_of_most_words(text: str, expected: str) -> None:
    assert script(text) == expected

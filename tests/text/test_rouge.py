"""ROUGE-L in a pool of texts, also where it has more different tokens than there are characters."""

import sys

import pytest

from stages.text.rouge import FIRST, Match, RougeL


@pytest.mark.parametrize("left", [10_000, 2, 0])  # characters that are left for new tokens
def test_more_tokens_than_characters_are_compared(left: int) -> None:
    pool = RougeL(str.split)
    pool._letters = {f"taken {n}": FIRST + n for n in range(sys.maxunicode + 1 - FIRST - left)}
    for text in ("x y z", "p q r s", ""):
        pool.add(text)
    assert pool.first_above("p q r t", 0.7) == Match(1, 0.75)
    assert pool.nearest("x y z", 1) == [Match(0, 1.0)]
    assert pool.first_above("x taken", 0.5) is None

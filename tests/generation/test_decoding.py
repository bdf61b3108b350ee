"""Decoding: the text of an answer can be stored whatever the tokenizer makes of its tokens."""

from types import SimpleNamespace

import pytest

from stages.generation import decoding

pytestmark = pytest.mark.model


@pytest.mark.parametrize("half", ["\ud83d", "\udfff", "\udc00\ud800"])
def test_half_a_surrogate_pair_in_an_answer_is_replaced(half):
    tokenizer = SimpleNamespace(decode=lambda *_, **__: f"half {half}")
    assert decoding._answer(tokenizer, [1], []).text == f"half {'?' * len(half)}"

"""Decoding: the text of an answer can be stored whatever the tokenizer makes of its tokens."""

from types import SimpleNamespace

import pytest

from stages.generation import cache, decoding
from stages.models.loading import LanguageModel

pytestmark = pytest.mark.model


@pytest.mark.parametrize("half", ["\ud83d", "\udfff", "\udc00\ud800"])
def test_half_a_surrogate_pair_in_an_answer_is_replaced(half):
    tokenizer = SimpleNamespace(decode=lambda *_, **__: f"half {half}")
    assert decoding.answer(tokenizer, [1], []).text == f"half {'?' * len(half)}"


@pytest.mark.parametrize("worth_sharing", [4, 10**6], ids=["shared", "apart"])
def test_rows_leave_the_batch_and_keep_their_texts(tuned_fp32, tokenizer, monkeypatch, worth_sharing):
    """transformers' loop, which computes every row to the end, is the measure."""
    import torch

    monkeypatch.setattr(cache, "WORTH_SHARING", worth_sharing)
    monkeypatch.setattr(cache, "ROOM", 3)
    lm = LanguageModel(tuned_fp32, tokenizer)
    prompts = [[*range(10, 30), *range(30, 30 + more)] for more in range(2, 26)]

    def choose(logits, written, rows):  # ends rows after three to nine tokens
        return torch.where(rows % 7 + 2 == written.shape[1], lm.stop_ids[0], logits[:, 8:].argmax(-1) + 8)

    widths = []
    hook = tuned_fp32.register_forward_pre_hook(lambda _, __, given: widths.append(len(given["input_ids"])), with_kwargs=True)
    mine = decoding.generate(lm, prompts, 12, choose)
    hook.remove()
    stock = decoding._stock(lm, cache.batched(lm, prompts), 12, choose)
    assert mine == [decoding.answer(tokenizer, row, lm.stop_ids) for row in stock.tolist()]
    assert [answer.new_tokens for answer in mine] == [row % 7 + 3 for row in range(len(prompts))]
    assert widths[-1] < len(prompts) / 4


@pytest.mark.parametrize("loop", ["own", "stock"])
def test_settings_of_a_publisher_change_no_text(tuned_fp32, tokenizer, monkeypatch, loop):
    from transformers import GenerationConfig

    if loop == "stock":
        monkeypatch.setattr(decoding, "_written", decoding._stock)
    lm, prompts = LanguageModel(tuned_fp32, tokenizer), [[*range(10, 30)], [*range(40, 50)]]
    expected = decoding.greedy(lm, prompts, 8)
    settings = GenerationConfig(repetition_penalty=50.0, no_repeat_ngram_size=1, bad_words_ids=[[9]])
    monkeypatch.setattr(tuned_fp32, "generation_config", settings)
    assert decoding.greedy(lm, prompts, 8) == expected

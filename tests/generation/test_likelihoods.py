"""Likelihoods, and the prefix that prompts of a batch share: neither batch nor cache changes a result."""

import pytest

from stages.generation import cache, decoding, likelihoods
from stages.models.loading import LanguageModel
from stages.models.tuned import load_tuned

pytestmark = pytest.mark.model

NEW_TOKENS = 6
ALIKE = [list(range(10, 90)) + tail for tail in ([5, 6, 7], [8, 9, 10, 11, 12], [5, 30, 31])]
ENDS = [[20, 21, 22], [23], [24, 25]]


def one_by_one(model, prompt: list[int], end: list[int]) -> float:
    import torch

    logits = model(torch.tensor([prompt + end])).logits[0].log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(end))


@pytest.mark.parametrize("worth_sharing", [64, 10**6], ids=["shared", "apart"])
def test_batched_log_likelihoods_equal_single_ones(tuned_fp32, tokenizer, monkeypatch, worth_sharing):
    monkeypatch.setattr(cache, "WORTH_SHARING", worth_sharing)
    found = likelihoods.log_likelihoods(LanguageModel(tuned_fp32, tokenizer), ALIKE, ENDS)
    assert found == pytest.approx([one_by_one(tuned_fp32, p, e) for p, e in zip(ALIKE, ENDS, strict=True)], abs=1e-4)


@pytest.mark.parametrize("worth_sharing", [4, 64], ids=["shared", "apart"])
def test_common_prefix_of_options_is_scored(tuned_fp32, tokenizer, monkeypatch, worth_sharing):
    """Options may all begin "The correct answer is …"; that text counts for their likelihood, not for the prompt."""
    monkeypatch.setattr(cache, "WORTH_SHARING", worth_sharing)
    texts = ["The answer is anorexia.", "The answer is fever.", "The answer is a long name of something."]
    scores, tokens = likelihoods.choices(LanguageModel(tuned_fp32, tokenizer), ALIKE[0], texts)
    ends = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert scores == pytest.approx([one_by_one(tuned_fp32, ALIKE[0], end) for end in ends], abs=1e-3)
    assert tokens == [len(end) for end in ends]


def test_shared_prefix_is_computed_once(tuned_fp32, tokenizer, monkeypatch):
    widths = []
    tuned_fp32.register_forward_pre_hook(lambda _, __, given: widths.append(tuple(given["input_ids"].shape)), with_kwargs=True)
    shared = decoding.greedy(LanguageModel(tuned_fp32, tokenizer), ALIKE, NEW_TOKENS)
    assert widths[0] == (1, 80)
    assert widths[1] == (3, 5)
    monkeypatch.setattr(cache, "WORTH_SHARING", 10**6)
    assert decoding.greedy(LanguageModel(tuned_fp32, tokenizer), ALIKE, NEW_TOKENS) == shared


@pytest.mark.parametrize(("worth_sharing", "near"), [(64, 1e-4), (10**6, 0)], ids=["shared", "apart"])
def test_growing_cache_equals_the_stock_cache(weights, adapter, tuned_fp32, tokenizer, monkeypatch, worth_sharing, near):
    """With a shared prefix, attention adds up in another order; without one, numbers are equal in bf16 too."""
    from transformers import DynamicCache

    model = tuned_fp32 if near else load_tuned(weights, adapter, "cpu")
    monkeypatch.setattr(cache, "WORTH_SHARING", worth_sharing)
    monkeypatch.setattr(cache, "ROOM", 5)  # less than an answer, so that the cache grows more than once
    roomy = decoding.greedy(LanguageModel(model, tokenizer), ALIKE, 3 * NEW_TOKENS)
    likely = likelihoods.log_likelihoods(LanguageModel(model, tokenizer), ALIKE, ENDS)
    monkeypatch.setattr(cache, "_empty", lambda _: DynamicCache(config=model.config))
    assert decoding.greedy(LanguageModel(model, tokenizer), ALIKE, 3 * NEW_TOKENS) == roomy
    assert likelihoods.log_likelihoods(LanguageModel(model, tokenizer), ALIKE, ENDS) == pytest.approx(likely, abs=near)
    assert max(answer.new_tokens for answer in roomy) > 10

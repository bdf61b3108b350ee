"""Sampling: draws follow the probabilities of the nucleus and depend only on their seed."""

import pytest

from stages.generation import sampling

pytestmark = pytest.mark.model


def test_presence_penalty_lowers_written_tokens_once():
    import torch

    lowered = sampling._lowered(torch.zeros(1, 4), torch.tensor([[3, 3]]), 1.5)
    assert lowered.tolist() == [[0.0, 0.0, 0.0, -1.5]]


@pytest.mark.parametrize("top_p", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("flatness", [0.3, 3.0])  # a nucleus of few tokens, and a wide one
def test_draws_follow_the_probabilities_of_the_nucleus(top_p, flatness):
    import torch
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    logits = torch.randn(1, 1500, generator=torch.Generator().manual_seed(1)) * 2
    stock = TopPLogitsWarper(top_p)(None, TemperatureLogitsWarper(flatness)(None, logits)).softmax(-1)[0]
    drawn = sampling._draw(flatness, top_p, 42, 20_000)(logits.expand(20_000, -1), torch.arange(20_000))
    often = torch.bincount(drawn, minlength=1500) / 20_000
    assert not often[stock == 0].any()
    share, tokens = stock.sort(descending=True)
    group = ((share.cumsum(0) - share / 2) * 20).long()  # twenty groups of about equal probability
    expected, seen = (torch.zeros(21).index_add(0, group, each) for each in (share, often[tokens]))
    assert ((seen - expected).abs() <= 5 * (expected * (1 - expected).clamp(min=0) / 20_000).sqrt() + 1e-6).all()
    assert flatness < 1 or (expected > 0.01).sum() >= 19  # with many likely tokens, almost all groups are compared


def test_draw_uses_only_its_seed():
    import torch

    logits, before = torch.randn(8, 50), torch.get_rng_state()
    first, again, other = (sampling._draw(1.0, 0.95, seed, 8)(logits, torch.arange(8)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_draw_of_a_certain_token_is_that_token():
    import torch

    sure = torch.full((3, 9), -torch.inf).scatter(1, torch.tensor([[4], [0], [8]]), 2.5)
    assert sampling._draw(0.7, 0.9, 1, 3)(sure, torch.arange(3)).tolist() == [4, 0, 8]


def test_rows_that_have_left_do_not_change_the_draws_of_others():
    import torch

    logits, kept = torch.randn(8, 50), torch.tensor([1, 6])
    whole, rest = (sampling._draw(1.0, 0.95, 1, 8) for _ in range(2))
    assert torch.equal(whole(logits, torch.arange(8))[kept], rest(logits[kept], kept))

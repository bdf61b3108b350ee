"""Attention over a shared prefix equals attention over the same keys stored for every row."""

import pytest

pytestmark = pytest.mark.model


@pytest.mark.parametrize(("heads", "held"), [(6, 2), (4, 4)], ids=["grouped", "one query per key"])
@pytest.mark.parametrize("new", [1, 3])
@pytest.mark.parametrize("masked", [True, False])
def test_split_keys_equal_repeated_ones(heads, held, new, masked):
    import torch

    from stages.generation.attention import Split, attention

    generator = torch.Generator().manual_seed(heads + new)
    rows, shared, own, room, width = 3, 7, 5, 4, 8

    def split() -> Split:
        filled = torch.randn(rows, held, own, width, generator=generator)
        with_room = torch.cat([filled, torch.zeros(rows, held, room, width)], dim=2)
        return Split(torch.randn(1, held, shared, width, generator=generator), with_room, own)

    query = torch.randn(rows, new, heads, width, generator=generator).transpose(1, 2)  # as a product of all heads gives it
    key, value = split(), split()
    mask = torch.ones(rows, 1, new, shared + own, dtype=torch.bool)
    mask[1, ..., shared : shared + 2] = False  # padding after the shared prefix
    mask = mask if masked else None
    mine, _ = attention(torch.nn.Module(), query, key, value, mask, scaling=0.3)
    whole = [torch.cat([each.shared.expand(rows, -1, -1, -1), each.own[:, :, :own]], dim=2) for each in (key, value)]
    expected = torch.nn.functional.scaled_dot_product_attention(query, *whole, attn_mask=mask, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(mine, expected.transpose(1, 2))


def test_other_caches_use_the_attention_of_transformers():
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    from stages.generation.attention import attention

    query, key, value = (torch.randn(2, 4, 3, 8) for _ in range(3))
    module = torch.nn.Module()
    mine, own = (function(module, query, key, value, None)[0] for function in (attention, sdpa_attention_forward))
    assert torch.equal(mine, own)

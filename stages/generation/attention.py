"""Attention over a cache whose first columns all rows share, such as a system prompt and examples.

While one token per row is decoded, the queries of all rows meet the shared keys in one product, so these are stored and read
once and not once per row (Juravsky et al. 2024, arXiv 2402.05099).
"""

from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "shared_prefix"


class Split(NamedTuple):
    """Keys or values, each (rows, heads, tokens, width): of the columns that all rows share (one row), and of each row.

    Of each row's columns the first `length` are filled. The others are zeros: products of whole tensors need no copy.
    """

    shared: Tensor
    own: Tensor
    length: int

    def joined(self) -> Tensor:
        return torch.cat([self.shared.expand(len(self.own), -1, -1, -1), self.own[:, :, : self.length]], dim=2)


Held: TypeAlias = Tensor | Split


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Held,
    value: Held,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **how: Any,
) -> tuple[Tensor, None]:
    """Return attention's output (rows, tokens, heads, width), as transformers' attention functions do."""
    if not isinstance(key, Split) or not isinstance(value, Split):
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **how)
    if query.shape[2] == 1:
        return _one_token(query, key, value, attention_mask, query.shape[-1] ** -0.5 if scaling is None else scaling), None
    out = scaled_dot_product_attention(
        query,
        key.joined(),
        value.joined(),
        attn_mask=attention_mask,
        is_causal=False,
        scale=scaling,
        enable_gqa=query.shape[1] != key.own.shape[1],
    )
    return out.transpose(1, 2).contiguous(), None


def _one_token(query: Tensor, key: Split, value: Split, mask: Tensor | None, scaling: float) -> Tensor:
    """Return the output (rows, 1, heads, width) for one query per row.

    `mask` (rows, 1, 1, tokens) is true where a token is visible; without one, all are.
    """
    rows, heads, _, width = query.shape
    held = key.own.shape[1]  # heads of keys and values; several heads of queries read each
    by_row = query.reshape(rows * held, heads // held, width)
    scores = torch.bmm(by_row, key.own.flatten(0, 1).transpose(1, 2)).view(rows, held, heads // held, -1)
    shared, room = key.shared.shape[2], key.own.shape[2] - key.length
    hidden = query.new_zeros(1, 1, 1, key.length, dtype=torch.bool) if mask is None else ~mask[..., shared:]
    scores = scores.masked_fill_(torch.nn.functional.pad(hidden, (0, room), value=True), torch.finfo(scores.dtype).min)
    by_head = query.reshape(rows, held, -1, width).transpose(0, 1).reshape(held, -1, width)
    seen = torch.bmm(by_head, key.shared[0].transpose(1, 2)).view(held, rows, heads // held, shared).transpose(0, 1)
    weights = torch.cat([seen, scores], dim=3).float().mul_(scaling).softmax(-1).to(query.dtype)
    own = torch.bmm(weights[..., shared:].reshape(rows * held, heads // held, -1), value.own.flatten(0, 1))
    by_head = weights[..., :shared].transpose(0, 1).reshape(held, -1, shared)
    seen = torch.bmm(by_head, value.shared[0]).view(held, rows, heads // held, -1).transpose(0, 1)
    return own.view(rows, 1, heads, -1) + seen.reshape(rows, 1, heads, -1)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)

"""Batches of prompts whose common prefix is computed once, and the cache of keys and values that they decode from."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from stages.models.loading import LanguageModel

WORTH_SHARING = 64  # tokens; below it the second pass over the batch costs more than it saves
ROOM = 64  # tokens that a cache grows by at a time


@dataclass
class Batch:
    """Rows of ids, padded between the shared prefix and the rest; `cache` holds the first `shared` columns of every row."""

    ids: torch.Tensor
    mask: torch.Tensor
    shared: int
    cache: Any


def batched(lm: LanguageModel, rows: Sequence[list[int]], at_most: int = sys.maxsize) -> Batch:
    """Return the rows as a batch that shares their common prefix, up to `at_most` tokens of it."""
    shortest = min(*map(len, rows), at_most + 2) - 2  # a row keeps two tokens: one is predicted from the other
    shared = next((column for column, ids in enumerate(zip(*rows, strict=False)) if len(set(ids)) > 1), shortest)
    worth = len(rows) > 1 and min(shared, shortest) >= WORTH_SHARING and not lm.encoder_decoder
    shared = min(shared, shortest) if worth else 0
    width, start = max(map(len, rows)), rows[0][:shared]
    padded = [width - len(row) for row in rows]
    ids = [start + [lm.tokenizer.pad_token_id] * gap + row[shared:] for row, gap in zip(rows, padded, strict=True)]
    mask = [[1] * shared + [0] * gap + [1] * (width - shared - gap) for gap in padded]
    batch = Batch(torch.tensor(ids, device=lm.model.device), torch.tensor(mask, device=lm.model.device), shared, _empty(lm))
    if shared:
        with torch.inference_mode():
            lm.model(input_ids=batch.ids[:1, :shared], past_key_values=batch.cache, use_cache=True, logits_to_keep=1)
        batch.cache.batch_repeat_interleave(len(rows))
    return batch


def _empty(lm: LanguageModel) -> DynamicCache | None:
    """Return an empty cache for a decoder without a trained prompt, else None: then the model makes its own."""
    if lm.encoder_decoder or lm.has_prompt:
        return None
    cache = DynamicCache(config=lm.model.config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class GrowingLayer(DynamicLayer):
    """Keys and values, each (rows, heads, tokens, width), stored at the start of tensors with room for more tokens.

    transformers' own layer copies its whole content for every token, which takes a quarter of a decoding step on a CPU.
    """

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, ...]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.keys, self.values = _appended(self.keys, key_states), _appended(self.values, value_states)
        return self.keys, self.values


def _appended(held: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    rows, heads, length, width = held.shape
    end = length + new.shape[2]
    room = held.stride(1) // width  # in tokens; equal to the length if the tensor is full
    if end > room or not held.numel():
        grown = held.new_empty(rows, heads, end + ROOM, width)
        grown[:, :, :length] = held
        held = grown[:, :, :length]
    whole = held.as_strided((rows, heads, end, width), held.stride())
    whole[:, :, length:] = new
    return whole

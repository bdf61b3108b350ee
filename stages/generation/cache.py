"""Batches of prompts whose common prefix is computed once, and the cache of keys and values that they decode from."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from stages.generation.attention import NAME, Held, Split
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
    """Return an empty cache for a decoder without a trained prompt, else None: then the model makes its own.

    The model gets the attention that reads SplitLayer. Where its code has no such choice, the cache is transformers' own.
    """
    if lm.encoder_decoder or lm.has_prompt:
        return None
    cache = DynamicCache(config=lm.model.config)
    lm.model.set_attn_implementation(NAME)
    if lm.model.config._attn_implementation == NAME:
        cache.layers = [SplitLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def keep(cache: DynamicCache, rows: torch.Tensor) -> torch.Tensor | None:
    """Keep these rows (bool) of a cache and return their numbers; return None if one of its layers cannot drop rows."""
    if not all(hasattr(layer, "batch_select_indices") for layer in cache.layers):
        return None
    numbers = rows.nonzero().squeeze(1)
    cache.batch_select_indices(numbers)
    return numbers


class SplitLayer(DynamicLayer):
    """Keys and values: those of the columns that all rows share are stored once, those of each row with room for more.

    transformers' own layer copies its whole content for every token, which takes a quarter of a decoding step on a CPU.
    """

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        self.keys, self.values, self.length = key_states[:, :, :0], value_states[:, :, :0], 0
        self.shared_keys, self.shared_values = key_states[:1, :, :0], value_states[:1, :, :0]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[Held, Held]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[2]
        self.keys, self.values = _grown(self.keys, self.length), _grown(self.values, self.length)
        self.keys[:, :, start : self.length], self.values[:, :, start : self.length] = key_states, value_states
        if not self.shared_keys.shape[2]:
            return self.keys[:, :, : self.length], self.values[:, :, : self.length]
        return Split(self.shared_keys, self.keys, self.length), Split(self.shared_values, self.values, self.length)

    def get_seq_length(self) -> int:
        return self.shared_keys.shape[2] + self.length if self.is_initialized else 0

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Share the content of the one row among `repeats` rows."""
        self.shared_keys, self.shared_values = (held[:, :, : self.length].contiguous() for held in (self.keys, self.values))
        self.keys, self.values = (held[:, :, :0].expand(repeats, -1, -1, -1) for held in (self.keys, self.values))
        self.length = 0


def _grown(held: torch.Tensor, needed: int) -> torch.Tensor:
    """Return zeros with room for more tokens, and what was held at their start."""
    if needed <= held.shape[2]:
        return held
    grown = held.new_zeros(*held.shape[:2], needed + ROOM, held.shape[3])
    grown[:, :, : held.shape[2]] = held
    return grown

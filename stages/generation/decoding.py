"""Decode batches of prompts into answers.

Prompts with a common prefix (a system prompt, examples) share one pass over it: its keys and values are computed once per
batch. Rows that have ended leave the batch. transformers' own loop computes them until the last one ends; it serves
encoder-decoder models and trained prompts. A model with a trained prompt answers one row at a time, because PEFT drops the
position ids that make padding on the left harmless.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase

from stages.files import printable
from stages.generation import cache
from stages.models.loading import LanguageModel

LEAVING = 8  # rows leave once one in LEAVING has ended, because the cache is copied each time

# (logits, tokens written so far, numbers of the rows in the batch as it began) -> the next token of each row
Choose: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Completion:
    """An answer; `stopped` means that the model ended it itself, and `new_tokens` includes the end token."""

    text: str
    stopped: bool
    new_tokens: int


def greedy(lm: LanguageModel, prompts: Sequence[list[int]], max_new_tokens: int) -> list[Completion]:
    """Return the most likely continuation of each prompt, in order."""
    return generate(lm, prompts, max_new_tokens, likeliest)


def likeliest(logits: Tensor, *_: Tensor) -> Tensor:
    """Choose greedily; a `Choose`."""
    return logits.argmax(-1)


def generate(lm: LanguageModel, prompts: Sequence[list[int]], max_new_tokens: int, choose: Choose) -> list[Completion]:
    """Return a continuation of each prompt, in order, of tokens that `choose` picks from logits in fp32."""
    return [answer(lm.tokenizer, row, lm.stop_ids) for row in tokens(lm, prompts, max_new_tokens, choose)]


def tokens(lm: LanguageModel, prompts: Sequence[list[int]], max_new_tokens: int, choose: Choose) -> list[list[int]]:
    """Return the same as tokens, each row up to its end token."""
    if len(prompts) > 1 and lm.has_prompt:
        return [row for prompt in prompts for row in tokens(lm, [prompt], max_new_tokens, choose)]
    batch = cache.batched(lm, prompts)
    with torch.inference_mode():
        written = (_stock if batch.cache is None else _written)(lm, batch, max_new_tokens, choose).tolist()
    return [row[: next((place for place, token in enumerate(row, 1) if token in lm.stop_ids), len(row))] for row in written]


def _written(lm: LanguageModel, batch: cache.Batch, max_new_tokens: int, choose: Choose) -> Tensor:
    """Return the new tokens (rows, at most `max_new_tokens`), padded after a row's end."""
    stops = torch.tensor(lm.stop_ids, device=batch.ids.device)
    written = batch.ids.new_full((len(batch.ids), max_new_tokens), lm.tokenizer.pad_token_id)
    rows, ended = torch.arange(len(batch.ids), device=stops.device), stops.new_zeros(len(batch.ids), dtype=torch.bool)
    ids, mask = batch.ids[:, batch.shared :], batch.mask
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, batch.shared :]
    for column in range(max_new_tokens):
        logits = lm.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=batch.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        tokens = choose(logits.float(), written[rows, :column], rows)
        written[rows, column] = torch.where(ended, lm.tokenizer.pad_token_id, tokens)
        ended = ended | torch.isin(tokens, stops)
        if ended.all():
            break
        if LEAVING * ended.sum() >= len(ended) and (going := cache.keep(batch.cache, ~ended)) is not None:
            rows, ended, mask, tokens, positions = (each[going] for each in (rows, ended, mask, tokens, positions))
        ids, positions, mask = tokens[:, None], positions[:, -1:] + 1, torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return written[:, : column + 1]


def _stock(lm: LanguageModel, batch: cache.Batch, max_new_tokens: int, choose: Choose) -> Tensor:
    """Return the same from transformers' loop, without what a publisher adds to it, such as a penalty for repetition."""
    lm.model.generation_config = GenerationConfig(
        decoder_start_token_id=getattr(lm.model.config, "decoder_start_token_id", None)
    )
    start, rows = 1 if lm.encoder_decoder else batch.ids.shape[1], torch.arange(len(batch.ids), device=batch.ids.device)

    def only_the_chosen(ids: Tensor, logits: Tensor) -> Tensor:  # a separate decoder begins with a start token
        return torch.full_like(logits, -torch.inf).scatter(1, choose(logits, ids[:, start:], rows)[:, None], 0.0)

    out = lm.model.generate(
        input_ids=batch.ids,
        attention_mask=batch.mask,
        past_key_values=batch.cache,
        do_sample=False,
        max_new_tokens=max_new_tokens,
        logits_processor=[only_the_chosen],
        eos_token_id=lm.stop_ids,
        pad_token_id=lm.tokenizer.pad_token_id,
    )
    written: Tensor = out[:, start:]
    return written


def answer(tokenizer: PreTrainedTokenizerBase, ids: list[int], stops: list[int]) -> Completion:
    """Return new tokens as an answer, up to its end token."""
    end = next((position for position, token in enumerate(ids) if token in stops), None)
    text = printable(str(tokenizer.decode(ids[:end], skip_special_tokens=True))).strip()
    return Completion(text, end is not None, len(ids) if end is None else end + 1)

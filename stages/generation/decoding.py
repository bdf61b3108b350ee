"""Decode batches of prompts into answers.

Prompts with a common prefix (a system prompt, examples) share one pass over it: its keys and values are computed once per
batch. A model with a trained prompt answers one row at a time, because PEFT drops the position ids that make padding on the
left harmless.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from stages.files import printable
from stages.generation import cache
from stages.models.loading import LanguageModel


@dataclass(frozen=True)
class Completion:
    """An answer; `stopped` means that the model ended it itself, and `new_tokens` includes the end token."""

    text: str
    stopped: bool
    new_tokens: int


def greedy(lm: LanguageModel, prompts: Sequence[list[int]], max_new_tokens: int) -> list[Completion]:
    """Return the most likely continuation of each prompt, in order."""
    return generate(lm, prompts, do_sample=False, max_new_tokens=max_new_tokens)


def generate(lm: LanguageModel, prompts: Sequence[list[int]], **how: Any) -> list[Completion]:
    if len(prompts) > 1 and lm.has_prompt:
        return [answer for prompt in prompts for answer in generate(lm, [prompt], **how)]
    stops, batch = lm.stop_ids, cache.batched(lm, prompts)
    with torch.inference_mode():
        out = lm.model.generate(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            past_key_values=batch.cache,
            eos_token_id=stops,
            pad_token_id=lm.tokenizer.pad_token_id,
            **how,
        )
    start = 1 if lm.encoder_decoder else batch.ids.shape[1]  # a separate decoder begins with a start token
    return [_answer(lm.tokenizer, row, stops) for row in out[:, start:].tolist()]


def _answer(tokenizer: PreTrainedTokenizerBase, ids: list[int], stops: list[int]) -> Completion:
    end = next((position for position, token in enumerate(ids) if token in stops), None)
    text = printable(str(tokenizer.decode(ids[:end], skip_special_tokens=True))).strip()
    return Completion(text, end is not None, len(ids) if end is None else end + 1)

"""Decode JSON objects only: tokens that would leave the grammar are ruled out before the likeliest one is chosen.

The grammar is llguidance's of a JSON Schema (github.com/guidance-ai/llguidance). It follows the model's own tokens, so a text
that the model would have written anyway stays the same.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from torch import Tensor

from stages.errors import DataError
from stages.models.loading import LanguageModel

# Between tokens of the object; without a bound, a model could write it for ever.
WHITE_SPACE = {"whitespace_flexible": True, "whitespace_pattern": "[ \\n]{0,20}"}


@dataclass
class JsonOnly:
    """Choose the likeliest token that the grammar allows; an object of it serves one batch after another."""

    tokenizer: LLTokenizer
    grammar: str
    stop: int
    matchers: dict[int, LLMatcher] = field(default_factory=dict)

    def __call__(self, logits: Tensor, written: Tensor, rows: Tensor) -> Tensor:
        """Return the next token of each row, as `decoding.Choose` does."""
        if not written.shape[1]:
            self.matchers = {row: LLMatcher(self.tokenizer, self.grammar) for row in rows.tolist()}
        allowed = np.full((len(rows), -(-logits.shape[1] // 32)), -1, dtype=np.int32)
        complete = torch.zeros_like(rows, dtype=torch.bool)
        for place, row in enumerate(rows.tolist()):
            matcher = self.matchers[row]
            if written.shape[1]:
                matcher.consume_token(int(written[place, -1]))
            if matcher.is_stopped():
                complete[place] = True
            else:
                matcher.unsafe_compute_mask_ptr(allowed[place].ctypes.data, allowed[place].nbytes)
        bits = torch.from_numpy(allowed).to(logits.device)[:, :, None] >> torch.arange(32, device=logits.device) & 1
        likeliest = logits.masked_fill(bits.flatten(1)[:, : logits.shape[1]] == 0, -torch.inf).argmax(-1)
        return torch.where(complete, self.stop, likeliest)


def json_only(lm: LanguageModel, schema: dict[str, Any]) -> JsonOnly:
    """Return the choice of tokens for objects of the JSON Schema; raise DataError for a tokenizer without a fast form."""
    head = lm.model.get_output_embeddings()
    try:
        tokenizer = from_tokenizer(lm.tokenizer, n_vocab=head.weight.shape[0], eos_token=lm.stop_ids)
    except ValueError as error:
        raise DataError(
            f"{lm.tokenizer.name_or_path}: answers cannot be constrained to JSON: {error}; set constrain to none"
        ) from None
    grammar = LLMatcher.grammar_from_json_schema({**schema, "x-guidance": WHITE_SPACE})
    if mistake := LLMatcher.validate_grammar(grammar, tokenizer):
        raise DataError(f"answers cannot be constrained to JSON: {mistake}; set constrain to none")
    return JsonOnly(tokenizer, grammar, lm.stop_ids[0])

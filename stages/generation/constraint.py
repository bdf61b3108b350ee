"""Decode JSON objects only: tokens that would leave the grammar are ruled out before the likeliest one is chosen.

The grammar is llguidance's (github.com/guidance-ai/llguidance). It follows the model's own tokens, so a text that the model
would have written anyway stays the same. An object that would be cut at the limit of tokens is closed in time.
"""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from torch import Tensor

from stages.errors import DataError
from stages.generation import copying
from stages.generation.decoding import Choose
from stages.models.loading import LanguageModel
from stages.text.copied import pieces
from stages.text.forms import parts

# What closes an open object soonest, in this order; null only in the place of a value.
CLOSING = ("null", '"', "}", "]", ",", ":")
WORD = 16  # tokens that may be left of a number or of nested lists when an object has to be closed


@dataclass(frozen=True)
class JsonOnly:
    """How the answers of one data set are kept to objects of a JSON Schema, of at most `limit` tokens.

    With `copied`, each text in an object is a part of the row's prompt.
    """

    tokenizer: LLTokenizer
    schema: dict[str, Any]
    limit: int
    stop: int
    copied: bool

    def choose(self, texts: Sequence[str]) -> Choose:
        """Return the choice of tokens for one batch, of whose prompts these are the texts that can be copied."""
        return Batch(self, (LLMatcher(self.tokenizer, self.grammar(text)) for text in texts), self._window(texts))

    def grammar(self, text: str) -> str:
        return copying.grammar(self.schema, text) if self.copied else self.of_schema

    @cached_property
    def of_schema(self) -> str:
        """The grammar without patterns: where texts are not copied, an object cut in an e-mail address could not be closed."""
        fields = {
            name: {key: value for key, value in field.items() if key != "pattern"}
            for name, field in self.schema.get("properties", {}).items()
        }
        schema = self.schema | ({"properties": fields} if fields else {})
        return LLMatcher.grammar_from_json_schema({**schema, "x-guidance": copying.WHITE_SPACE})

    @cached_property
    def shortest(self) -> int:
        """The number of tokens of the shortest object, at most one more than the limit."""
        return len(self.ending(LLMatcher(self.tokenizer, self.grammar("")), [], self.limit))

    def _window(self, texts: Sequence[str]) -> int:
        """Return how many tokens before the limit an object can need to be closed in time.

        A word, a name, or a text of a form is ended first.
        """
        names = [json.dumps(name, ensure_ascii=False) for name in self.schema.get("properties", {})]
        patterns = [field["pattern"] for field in self.schema.get("properties", {}).values() if "pattern" in field]
        runs = ([*pieces(text), *(run for pattern in patterns for run in parts(text, pattern))] for text in texts)
        words = [max(each, key=len, default="") for each in runs] if self.copied else []
        return self.shortest + max(len(self.tokenizer.greedy_tokenize(text)) for text in ["", *names, *words]) + WORD

    @cached_property
    def closing(self) -> dict[str, int]:
        """The token of each text that can close an open object."""
        return {text: ids[0] for text in CLOSING if len(ids := self.tokenizer.greedy_tokenize(text)) == 1}

    def ending(self, matcher: LLMatcher, written: list[int], most: int) -> list[int]:
        """Return tokens that close the object soon; more than `most` if there are not enough."""
        ending: list[int] = []
        while not (matcher.is_accepting() or matcher.is_stopped()) and len(ending) <= most:
            found = matcher.compute_ff_tokens() or [self._next(matcher, written + ending)]
            matcher.consume_tokens(found)
            ending += found
        return ending

    def _next(self, matcher: LLMatcher, written: list[int]) -> int:
        before_value = re.search(r'(?<!\\)":[ \n]*$', self.tokenizer.decode_str(written))
        for text, token in self.closing.items():
            if (before_value or text != "null") and (valid := matcher.validate_tokens([token, token])):
                formed = before_value and text == '"' and valid == 1  # a text that must have a form is not empty
                return int(self.tokenizer.greedy_tokenize("null")[0]) if formed else token
        allowed = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        return int(np.unpackbits(allowed, bitorder="little").argmax())


@dataclass
class Batch:
    """Choose the likeliest token that a row's grammar allows, unless its object could not be closed within the limit then."""

    how: JsonOnly
    unread: Iterator[LLMatcher]
    window: int
    matchers: list[LLMatcher] = field(default_factory=list)

    def __call__(self, logits: Tensor, written: Tensor, rows: Tensor) -> Tensor:
        """Return the next token of each row, as `decoding.Choose` does."""
        if not written.shape[1]:  # of all rows, or of the next one where rows are answered one at a time
            self.matchers = list(islice(self.unread, len(rows)))
        allowed = np.full((len(rows), -(-logits.shape[1] // 32)), -1, dtype=np.int32)
        open_rows = []
        for place, row in enumerate(rows.tolist()):
            matcher = self.matchers[row]
            if written.shape[1]:
                matcher.consume_token(int(written[place, -1]))
            if not matcher.is_stopped():
                open_rows.append((place, matcher))
                matcher.unsafe_compute_mask_ptr(allowed[place].ctypes.data, allowed[place].nbytes)
        bits = torch.from_numpy(allowed).to(logits.device)[:, :, None] >> torch.arange(32, device=logits.device) & 1
        likeliest = logits.masked_fill(bits.flatten(1)[:, : logits.shape[1]] == 0, -torch.inf).argmax(-1)
        tokens = torch.full_like(rows, self.how.stop)
        left = self.how.limit - written.shape[1]
        for place, matcher in open_rows:
            token = int(likeliest[place])
            tokens[place] = token if left > self.window else self._in_time(matcher, written[place].tolist(), token, left)
        return tokens

    def _in_time(self, matcher: LLMatcher, written: list[int], token: int, left: int) -> int:
        """Return the token if the object can be closed in `left` tokens with it, otherwise the one that closes it soonest."""
        soonest = self.how.ending(matcher.deep_copy(), written, left)
        if len(soonest) > left or not soonest:  # it is too late, or the object is closed already
            return token
        after = matcher.deep_copy()
        after.consume_token(token)
        return token if len(self.how.ending(after, [*written, token], left)) < left else soonest[0]


def json_only(lm: LanguageModel, schema: dict[str, Any], limit: int, copied: bool = False) -> JsonOnly:
    """Return the choice of tokens for objects of the JSON Schema; raise DataError for a tokenizer without a fast form."""
    head = lm.model.get_output_embeddings()
    try:
        tokenizer = from_tokenizer(lm.tokenizer, n_vocab=head.weight.shape[0], eos_token=lm.stop_ids)
    except ValueError as error:
        raise DataError(
            f"{lm.tokenizer.name_or_path}: answers cannot be constrained to JSON: {error}; set constrain to none"
        ) from None
    found = JsonOnly(tokenizer, schema, limit, lm.stop_ids[0], copied)
    if mistake := LLMatcher.validate_grammar(found.grammar("text"), tokenizer):
        raise DataError(f"answers cannot be constrained to JSON: {mistake}; set constrain to none")
    if found.shortest > limit:
        print(
            f"warning: predict.max_new_tokens = {limit}: an object with these fields has more tokens, so answers are cut off; "
            "raise it",
            file=sys.stderr,
        )
    return found

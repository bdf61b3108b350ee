"""Sample answers from an explicit seed, for the local teacher."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from stages.generation.decoding import Choose, Completion, generate
from stages.models.loading import LanguageModel
from stages.params import Sampling

NUCLEUS = 4096  # likeliest tokens to sort first; among 96 rows one nearly always needs more than 512

Draw: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # logits and numbers of the rows -> tokens


def sample(lm: LanguageModel, prompts: Sequence[list[int]], sampling: Sampling, seed: int) -> list[Completion]:
    """Return a random continuation of each prompt by nucleus sampling (Holtzman et al. 2020), drawn from `seed` alone."""
    return generate(lm, prompts, sampling.max_new_tokens, chooser(sampling, seed, len(prompts)))


def chooser(sampling: Sampling, seed: int, size: int) -> Choose:
    """Return what draws the tokens of a batch that begins with `size` rows."""
    draw = _draw(sampling.temperature, sampling.top_p, seed, size) if sampling.temperature > 0 else None

    def choose(logits: Tensor, written: Tensor, rows: Tensor) -> Tensor:
        if sampling.presence_penalty:
            logits = _lowered(logits, written, sampling.presence_penalty)
        return draw(logits, rows) if draw else logits.argmax(-1)

    return choose


def _draw(temperature: float, top_p: float, seed: int, size: int) -> Draw:
    """Return a function that draws a token per row of a batch that began with `size` rows, from the row's nucleus.

    The nucleus is the fewest tokens that hold `top_p`. transformers sorts the whole vocabulary and draws a number for each
    of its tokens from the global generator. On a CPU that takes a third of the time. This function sorts the likeliest
    tokens only and draws one number per row, also for rows that have left the batch, so that the others' do not change.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(logits: Tensor, rows: Tensor) -> Tensor:
        held, tokens = _likeliest((logits / temperature).softmax(-1), top_p)
        last = (held < top_p).sum(-1, keepdim=True).clamp(max=held.shape[1] - 1)
        mark = held.gather(1, last) * torch.rand(size, 1, generator=generator).to(held.device)[rows]
        return tokens.gather(1, torch.minimum((held <= mark).sum(-1, keepdim=True), last)).squeeze(1)

    return draw


def _likeliest(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Return the cumulative probabilities of each row's likeliest tokens, up to at least `top_p`, and the tokens."""
    vocabulary = probabilities.shape[1]
    width = min(NUCLEUS, vocabulary)
    while True:
        likely, tokens = probabilities.topk(width)
        held = likely.cumsum(-1)
        if width == vocabulary or bool((held[:, -1] >= top_p).all()):
            return held, tokens
        width = min(8 * width, vocabulary)


def _lowered(logits: Tensor, written: Tensor, penalty: float) -> Tensor:
    """Lower the logit of every token that is already in the answer, as OpenAI's presence_penalty does."""
    return logits.scatter(1, written, logits.gather(1, written) - penalty)

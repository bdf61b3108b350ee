"""A batch of prompts in, answers out: greedy for predictions, sampled with an explicit seed for the local teacher."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages import chat
from stages.params import Sampling

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Answer:
    """`stopped`: the model ended by itself; `new_tokens` counts the end token too."""

    text: str
    stopped: bool
    new_tokens: int


def greedy(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[list[int]], max_new_tokens: int
) -> list[Answer]:
    """The most likely continuation of each prompt, in order."""
    return _generate(model, tokenizer, prompts, do_sample=False, max_new_tokens=max_new_tokens)


def sample(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[list[int]], sampling: Sampling, seed: int
) -> list[Answer]:
    """A random continuation of each prompt; transformers draws from torch's global generator, so it is forked and seeded."""
    import torch

    how: dict[str, Any] = {"max_new_tokens": sampling.max_new_tokens, "do_sample": sampling.temperature > 0}
    if sampling.temperature > 0:
        how |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    if sampling.presence_penalty:
        how["logits_processor"] = [_presence_penalty(max(map(len, prompts)), sampling.presence_penalty)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _generate(model, tokenizer, prompts, **how)


def _presence_penalty(prompt_width: int, penalty: float) -> "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]":
    """Lowers the logit of every token that the answer holds already, as OpenAI's presence_penalty does."""

    def lower(ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        written = ids[:, prompt_width:]
        return scores.scatter(1, written, scores.gather(1, written) - penalty)

    return lower


def _generate(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[list[int]], **how: Any
) -> list[Answer]:
    import torch

    stops, pad, width = chat.stop_ids(tokenizer), tokenizer.pad_token_id, max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    with torch.inference_mode():
        out = model.generate(input_ids=ids, attention_mask=mask, eos_token_id=stops, pad_token_id=pad, **how)
    return [_answer(tokenizer, row, stops) for row in out[:, width:].tolist()]


def _answer(tokenizer: "PreTrainedTokenizerBase", ids: list[int], stops: list[int]) -> Answer:
    end = next((position for position, token in enumerate(ids) if token in stops), None)
    text = str(tokenizer.decode(ids[:end], skip_special_tokens=True)).strip()
    return Answer(text, end is not None, len(ids) if end is None else end + 1)

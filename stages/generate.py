"""A batch of prompts in, answers out (greedy for predictions, sampled with an explicit seed for the local teacher); and how
likely a model finds given continuations.

Prompts that begin alike (a system prompt, examples) share one pass over that beginning: its keys and values are computed
once for the batch. A model with a trained prompt before its input is asked row by row: PEFT drops the position ids by which
padding on the left is harmless.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages import chat
from stages.params import Sampling

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WORTH_SHARING = 64  # tokens; below it the second pass over the batch costs more than it saves
ROOM = 64  # tokens by which a cache grows at once
NUCLEUS = 4096  # likeliest tokens looked at first: of 96 rows, one nearly always needs more than 512

Processor = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]  # ids and logits so far -> logits


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
    """A random continuation of each prompt: nucleus sampling (Holtzman et al. 2020), drawn from `seed` alone."""
    how: dict[str, Any] = {"do_sample": False, "max_new_tokens": sampling.max_new_tokens, "logits_processor": []}
    if sampling.presence_penalty:
        how["logits_processor"].append(_presence_penalty(max(map(len, prompts)), sampling.presence_penalty))
    if sampling.temperature > 0:
        how["logits_processor"].append(_draw(sampling.temperature, sampling.top_p, seed))
    return _generate(model, tokenizer, prompts, **how)


def _draw(temperature: float, top_p: float, seed: int) -> Processor:
    """Leaves of each row's logits one token, drawn from its nucleus: the fewest tokens that hold `top_p` of the probability.

    transformers' own sampling sorts the whole vocabulary and draws a number for each of its tokens, from the global generator:
    on a CPU a third of the time of a batch. This one looks at the likeliest tokens and draws one number a row.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)

    def draw(_: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        held, tokens = _likeliest((scores.float() / temperature).softmax(-1), top_p)
        last = (held < top_p).sum(-1, keepdim=True).clamp(max=held.shape[1] - 1)
        mark = held.gather(1, last) * torch.rand(len(held), 1, generator=generator).to(held.device)
        drawn = torch.minimum((held <= mark).sum(-1, keepdim=True), last)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens.gather(1, drawn), 0.0)

    return draw


def _likeliest(probabilities: "torch.Tensor", top_p: float) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Each row's likeliest tokens, enough to hold `top_p`: the probability they hold together up to each, and the tokens."""
    vocabulary = probabilities.shape[1]
    width = min(NUCLEUS, vocabulary)
    while True:
        likely, tokens = probabilities.topk(width)
        held = likely.cumsum(-1)
        if width == vocabulary or bool((held[:, -1] >= top_p).all()):
            return held, tokens
        width = min(8 * width, vocabulary)


def _presence_penalty(prompt_width: int, penalty: float) -> Processor:
    """Lowers the logit of every token that the answer holds already, as OpenAI's presence_penalty does."""

    def lower(ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        written = ids[:, prompt_width:]
        return scores.scatter(1, written, scores.gather(1, written) - penalty)

    return lower


def log_likelihoods(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[list[int]],
    continuations: Sequence[list[int]],
) -> list[float]:
    """Natural logarithm of the probability of each continuation after its prompt, summed over its tokens."""
    import torch

    if model.config.is_encoder_decoder or _prompted(model):
        return [_likelihood(model, *pair) for pair in zip(prompts, continuations, strict=True)]
    rows = [prompt + added for prompt, added in zip(prompts, continuations, strict=True)]
    batch = _batch(model, tokenizer, rows, at_most=min(map(len, prompts)) - 1)  # the last token before predicts the first
    longest = max(map(len, continuations))
    new = batch.ids[:, batch.shared :]
    with torch.inference_mode():
        logits = model(
            input_ids=new,
            attention_mask=batch.mask,
            position_ids=(batch.mask.cumsum(1) - 1).clamp(min=0)[:, batch.shared :],
            past_key_values=batch.cache,
            logits_to_keep=min(longest + 1, new.shape[1]),
        ).logits
        found = logits[:, :-1].float().log_softmax(-1).gather(2, new[:, 1 - logits.shape[1] :, None]).squeeze(2)
    return [float(row[row.shape[0] - len(added) :].sum()) for row, added in zip(found, continuations, strict=True)]


def forced(model: "PreTrainedModel", prompt: list[int], answer: list[int]) -> "torch.Tensor":
    """Logits of a model that reads `answer` after `prompt`, shape (len(answer) + 1, vocabulary).

    Row i is what the model says before token i of the answer; the last row says what would follow the answer.
    """
    import torch

    def ids(tokens: list[int]) -> torch.Tensor:
        return torch.tensor([tokens], device=model.device)

    with torch.inference_mode():
        if model.config.is_encoder_decoder:
            begun = ids([model.config.decoder_start_token_id, *answer])
            return model(input_ids=ids(prompt), decoder_input_ids=begun).logits[0]
        return model(input_ids=ids(prompt + answer), logits_to_keep=len(answer) + 1).logits[0]


def choices(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompt: list[int], texts: Sequence[str]
) -> tuple[list[float], list[int]]:
    """Log-likelihood (nats) and tokens of each possible answer to one prompt, without an end token."""
    ids = [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    return log_likelihoods(model, tokenizer, [prompt] * len(ids), ids), [len(answer) for answer in ids]


def _likelihood(model: "PreTrainedModel", prompt: list[int], continuation: list[int]) -> float:
    likely = forced(model, prompt, continuation)[:-1].float().log_softmax(-1)
    return float(sum(likely[place, token] for place, token in enumerate(continuation)))


def _prompted(model: "PreTrainedModel") -> bool:
    return hasattr(model, "peft_config") and model.active_peft_config.is_prompt_learning


@dataclass
class _Batch:
    """Rows of ids, padded on the left of what they do not share; `cache` holds the first `shared` columns of every row."""

    ids: "torch.Tensor"
    mask: "torch.Tensor"
    shared: int
    cache: Any


def _batch(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", rows: Sequence[list[int]], at_most: int = sys.maxsize
) -> _Batch:
    """The rows share their common beginning, but no more than `at_most` tokens of it."""
    import torch

    shortest = min(*map(len, rows), at_most + 2) - 2  # a row keeps two tokens: one is predicted from the other
    shared = next((column for column, ids in enumerate(zip(*rows, strict=False)) if len(set(ids)) > 1), shortest)
    worth = len(rows) > 1 and min(shared, shortest) >= WORTH_SHARING and not model.config.is_encoder_decoder
    shared = min(shared, shortest) if worth else 0
    width, start = max(map(len, rows)), rows[0][:shared]
    padded = [width - len(row) for row in rows]
    ids = [start + [tokenizer.pad_token_id] * gap + row[shared:] for row, gap in zip(rows, padded, strict=True)]
    mask = [[1] * shared + [0] * gap + [1] * (width - shared - gap) for gap in padded]
    batch = _Batch(torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device), shared, _cache(model))
    if shared:
        with torch.inference_mode():
            model(input_ids=batch.ids[:1, :shared], past_key_values=batch.cache, use_cache=True, logits_to_keep=1)
        batch.cache.batch_repeat_interleave(len(rows))
    return batch


def _cache(model: "PreTrainedModel") -> Any:
    """An empty cache for a decoder that needs nothing before its input, else None: then the model makes its own.

    transformers' cache copies all that it holds for every token it adds, which is a quarter of a decoding step on a CPU; this
    one writes into room that it keeps.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    class Layer(DynamicLayer):
        """Keys and values, (rows, heads, tokens, width) each, as the first tokens of tensors with room for more."""

        def update(
            self, key_states: "torch.Tensor", value_states: "torch.Tensor", *_: Any, **__: Any
        ) -> tuple["torch.Tensor", ...]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
                self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
            self.keys, self.values = _appended(self.keys, key_states), _appended(self.values, value_states)
            return self.keys, self.values

    if model.config.is_encoder_decoder or _prompted(model):
        return None
    cache = DynamicCache(config=model.config)
    cache.layers = [Layer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _appended(held: "torch.Tensor", new: "torch.Tensor") -> "torch.Tensor":
    rows, heads, length, width = held.shape
    end = length + new.shape[2]
    room = held.stride(1) // width  # tokens; a tensor without room holds just its own
    if end > room or not held.numel():
        grown = held.new_empty(rows, heads, end + ROOM, width)
        grown[:, :, :length] = held
        held = grown[:, :, :length]
    whole = held.as_strided((rows, heads, end, width), held.stride())
    whole[:, :, length:] = new
    return whole


def _generate(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[list[int]], **how: Any
) -> list[Answer]:
    import torch

    if len(prompts) > 1 and _prompted(model):
        return [answer for prompt in prompts for answer in _generate(model, tokenizer, [prompt], **how)]
    stops, batch = chat.stop_ids(tokenizer), _batch(model, tokenizer, prompts)
    with torch.inference_mode():
        out = model.generate(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            past_key_values=batch.cache,
            eos_token_id=stops,
            pad_token_id=tokenizer.pad_token_id,
            **how,
        )
    start = 1 if model.config.is_encoder_decoder else batch.ids.shape[1]  # a decoder of its own begins with a start token
    return [_answer(tokenizer, row, stops) for row in out[:, start:].tolist()]


def _answer(tokenizer: "PreTrainedTokenizerBase", ids: list[int], stops: list[int]) -> Answer:
    end = next((position for position, token in enumerate(ids) if token in stops), None)
    text = str(tokenizer.decode(ids[:end], skip_special_tokens=True)).strip()
    return Answer(text, end is not None, len(ids) if end is None else end + 1)

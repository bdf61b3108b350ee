"""Compute how likely a model finds given continuations, and its logits while it reads them."""

from collections.abc import Sequence

import torch

from stages.generation import cache
from stages.models.loading import LanguageModel
from stages.text import chat


def log_likelihoods(lm: LanguageModel, prompts: Sequence[list[int]], continuations: Sequence[list[int]]) -> list[float]:
    """Return the log-probability (nats) of each continuation after its prompt, summed over its tokens."""
    if lm.encoder_decoder or lm.has_prompt:
        return [_likelihood(lm, *pair) for pair in zip(prompts, continuations, strict=True)]
    sums = []
    for logits, added in zip(predictions(lm, prompts, continuations), continuations, strict=True):
        # Row by row: in fp32 the logits of a batch are the largest tensor of all.
        likely = logits.float().log_softmax(-1)
        sums.append(float(likely.gather(1, torch.tensor(added, device=logits.device)[:, None]).squeeze(1).sum()))
    return sums


def predictions(lm: LanguageModel, prompts: Sequence[list[int]], continuations: Sequence[list[int]]) -> list[torch.Tensor]:
    """Return the logits that predict the tokens of each continuation, shape (tokens, vocabulary), of a decoder."""
    rows = [prompt + added for prompt, added in zip(prompts, continuations, strict=True)]
    batch = cache.batched(lm, rows, at_most=min(map(len, prompts)) - 1)  # the prompt's last token predicts the first new one
    longest = max(map(len, continuations))
    new = batch.ids[:, batch.shared :]
    with torch.inference_mode():
        logits = lm.model(
            input_ids=new,
            attention_mask=batch.mask,
            position_ids=(batch.mask.cumsum(1) - 1).clamp(min=0)[:, batch.shared :],
            past_key_values=batch.cache,
            logits_to_keep=min(longest + 1, new.shape[1]),
        ).logits[:, :-1]
    return [row[len(row) - len(added) :] for row, added in zip(logits, continuations, strict=True)]


def forced(lm: LanguageModel, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Return the logits of a model that reads `answer` after `prompt`, shape (len(answer) + 1, vocabulary).

    Row i predicts token i of the answer; the last row predicts the token after it.
    """

    def ids(tokens: list[int]) -> torch.Tensor:
        return torch.tensor([tokens], device=lm.model.device)

    with torch.inference_mode():
        if lm.encoder_decoder:
            begun = ids([lm.model.config.decoder_start_token_id, *answer])
            return lm.model(input_ids=ids(prompt), decoder_input_ids=begun).logits[0]
        return lm.model(input_ids=ids(prompt + answer), logits_to_keep=len(answer) + 1).logits[0]


def choices(lm: LanguageModel, prompt: list[int], texts: Sequence[str]) -> tuple[list[float], list[int]]:
    """Return log-likelihood (nats) and number of tokens of each possible answer to a prompt, without an end token."""
    ids = [chat.text_ids(lm.tokenizer, text) for text in texts]
    return log_likelihoods(lm, [prompt] * len(ids), ids), [len(answer) for answer in ids]


def _likelihood(lm: LanguageModel, prompt: list[int], continuation: list[int]) -> float:
    likely = forced(lm, prompt, continuation)[:-1].float().log_softmax(-1)
    return float(sum(likely[place, token] for place, token in enumerate(continuation)))

"""What a system answers to the rows of a split, how likely it finds the references, and how far two models answer alike."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from rich.progress import track

from stages.errors import DataError
from stages.generation import decoding, likelihoods
from stages.models.loading import LanguageModel
from stages.records import Example, Message, Prediction
from stages.text import chat
from stages.text.prompts import with_shots


def predict(
    lm: LanguageModel,
    examples: Sequence[Example],
    shots: Sequence[Message],
    system: str,
    *,
    batch_size: int,
    max_new_tokens: int,
    likelihood_rows: int,
) -> list[Prediction]:
    """One prediction an example, in the order of the examples; the references of the first `likelihood_rows` are scored.

    Batches are made in order of prompt length: greedy texts differ between batches, so the same rows must meet again.
    """
    prompts = [chat.prompt_ids(lm.tokenizer, with_shots(example.prompt, shots)) for example in examples]
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), examples[i].id))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    answers: dict[int, decoding.Completion] = {}
    for batch in track(batches, system):
        texts = decoding.greedy(lm, [prompts[i] for i in batch], max_new_tokens)
        answers.update(zip(batch, texts, strict=True))
    scored = references(lm, examples[:likelihood_rows], prompts, batch_size)
    return [
        Prediction(
            example=example.id,
            system=system,
            prompt_tokens=len(prompts[i]),
            **asdict(answers[i]),
            **(scored[i] if i < len(scored) else {}),
            **choices(lm, example, prompts[i]),
            parents=(example.id,),
        )
        for i, example in enumerate(examples)
    ]


def references(
    lm: LanguageModel,
    examples: Sequence[Example],
    prompts: Sequence[list[int]],
    batch_size: int,
) -> list[dict[str, Any]]:
    """Log-likelihood (nats) and tokens of each example's reference, its end token included."""
    wanted = [chat.answer_ids(lm.tokenizer, example.messages) for example in examples]
    found: list[dict[str, Any]] = []
    for start in range(0, len(examples), batch_size):
        rows = slice(start, start + batch_size)
        likely = likelihoods.log_likelihoods(lm, prompts[rows][: len(wanted[rows])], wanted[rows])
        found += [
            {"reference_logprob": round(value, 4), "reference_tokens": len(ids)}
            for value, ids in zip(likely, wanted[rows], strict=True)
        ]
    return found


def choices(lm: LanguageModel, example: Example, prompt: list[int]) -> dict[str, Any]:
    """What a prediction tells of the possible answers; nothing for an open question."""
    if not example.choices:
        return {}
    logprobs, tokens = likelihoods.choices(lm, prompt, example.choices)
    return {"choice_logprobs": tuple(round(value, 4) for value in logprobs), "choice_tokens": tuple(tokens)}


def with_passages(examples: Sequence[Example], shown: Sequence[Example]) -> list[Example]:
    """Of the questions with a passage below, whose first parent is the question without, those of `examples`, in order."""
    found = {example.parents[0]: example for example in shown}
    if missing := [example.id for example in examples if example.id not in found]:
        raise DataError(
            f"predict.passage: {len(missing)} questions have no passage, e.g. {missing[0]}; it needs data.kind=documents"
        )
    return [found[example.id] for example in examples]


def to_the_question(predictions: Sequence[Prediction], shown: Sequence[Example]) -> list[Prediction]:
    """The same answers under the id of the question without its passage, so that they meet the other systems' there."""
    return [
        Prediction.model_validate(prediction.model_dump(exclude={"id"}) | {"example": example.parents[0]})
        for prediction, example in zip(predictions, shown, strict=True)
    ]


def agreement(
    lm: LanguageModel,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
) -> dict[str, Any]:
    """How often the model would choose the next token of the given answers, and in how many rows all of them.

    One forward pass a row instead of slow 4-bit generation: where every token agrees, greedy decoding gives the same text.
    """
    agreed, total, rows = 0, 0, 0
    for example, prediction in zip(examples, predictions, strict=False):
        prompt = chat.prompt_ids(lm.tokenizer, example.prompt)
        answer = lm.tokenizer(prediction.text, add_special_tokens=False)["input_ids"]
        if not answer:
            continue
        logits = likelihoods.forced(lm, prompt, answer)
        same = int((logits[:-1].argmax(-1) == torch.tensor(answer, device=lm.model.device)).sum())
        agreed, total, rows = agreed + same, total + len(answer), rows + (same == len(answer))
    counted = sum(bool(prediction.text) for prediction in predictions[: len(examples)])
    return {
        "rows": counted,
        "token_agreement": round(agreed / total, 6) if total else None,
        "row_agreement": round(rows / counted, 6) if counted else None,
    }


def cost(predictions: Sequence[Prediction], seconds: float) -> dict[str, Any]:
    new = sum(prediction.new_tokens for prediction in predictions)
    return {
        "seconds": round(seconds, 1),
        "rows": len(predictions),
        "prompt_tokens": sum(prediction.prompt_tokens for prediction in predictions),
        "new_tokens": new,
        "new_tokens_per_second": round(new / seconds, 1),
    }

"""What a system answers: greedy texts in fixed batches, sorted by length so that little is padded; how likely it finds the
reference and each possible answer; and how far two models would answer alike."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import track

from stages import chat, generate
from stages.records import DataError, Example, Message, Prediction, read

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHOTS = Path("data/formatted/shots.jsonl")


def predict(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    examples: Sequence[Example],
    shots: Sequence[Message],
    system: str,
    batch_size: int,
    max_new_tokens: int,
    likelihood_rows: int,
) -> list[Prediction]:
    """One prediction an example, in the order of the examples; the references of the first `likelihood_rows` are scored.

    Batches are made in order of prompt length: greedy texts differ between batches, so the same rows must meet again.
    """
    prompts = [chat.prompt_ids(tokenizer, with_shots(example.prompt, shots)) for example in examples]
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), examples[i].id))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    answers: dict[int, generate.Answer] = {}
    for batch in track(batches, system):
        texts = generate.greedy(model, tokenizer, [prompts[i] for i in batch], max_new_tokens)
        answers.update(zip(batch, texts, strict=True))
    scored = references(model, tokenizer, examples[:likelihood_rows], prompts, batch_size)
    return [
        Prediction(
            example=example.id,
            system=system,
            prompt_tokens=len(prompts[i]),
            **asdict(answers[i]),
            **(scored[i] if i < len(scored) else {}),
            **choices(model, tokenizer, example, prompts[i]),
            parents=(example.id,),
        )
        for i, example in enumerate(examples)
    ]


def references(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    examples: Sequence[Example],
    prompts: Sequence[list[int]],
    batch_size: int,
) -> list[dict[str, Any]]:
    """Log-likelihood (nats) and tokens of each example's reference, its end token included."""
    wanted = [chat.answer_ids(tokenizer, example.messages) for example in examples]
    found: list[dict[str, Any]] = []
    for start in range(0, len(examples), batch_size):
        rows = slice(start, start + batch_size)
        likely = generate.log_likelihoods(model, tokenizer, prompts[rows][: len(wanted[rows])], wanted[rows])
        found += [
            {"reference_logprob": round(value, 4), "reference_tokens": len(ids)}
            for value, ids in zip(likely, wanted[rows], strict=True)
        ]
    return found


def choices(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", example: Example, prompt: list[int]
) -> dict[str, Any]:
    """What a prediction tells of the possible answers; nothing for an open question."""
    if not example.choices:
        return {}
    logprobs, tokens = generate.choices(model, tokenizer, prompt, example.choices)
    return {"choice_logprobs": tuple(round(value, 4) for value in logprobs), "choice_tokens": tuple(tokens)}


def shots_of(system: str) -> list[Message]:
    """The example turns of a system such as base_3shot; others have none."""
    count = int(system.removeprefix("base_").removesuffix("shot")) if system.endswith("shot") else 0
    chosen = islice(read(SHOTS, Example), count) if count else ()
    return [message for example in chosen for message in example.messages if message.role != "system"]


def with_shots(prompt: Sequence[Message], shots: Sequence[Message]) -> list[Message]:
    """Earlier questions and answers stand between the system prompt and the question."""
    system = [message for message in prompt[:1] if message.role == "system"]
    return [*system, *shots, *prompt[len(system) :]]


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
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
) -> dict[str, Any]:
    """How often `model` would choose the next token of the given answers, and in how many rows all of them.

    One forward pass a row instead of slow 4-bit generation: where every token agrees, greedy decoding gives the same text.
    """
    import torch

    agreed, total, rows = 0, 0, 0
    for example, prediction in zip(examples, predictions, strict=False):
        prompt = chat.prompt_ids(tokenizer, example.prompt)
        answer = tokenizer(prediction.text, add_special_tokens=False)["input_ids"]
        if not answer:
            continue
        logits = generate.forced(model, prompt, answer)
        same = int((logits[:-1].argmax(-1) == torch.tensor(answer, device=model.device)).sum())
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

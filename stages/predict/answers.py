"""Answer the rows of a split, score the references, and measure how often two models agree."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, TypedDict

import torch
from rich.progress import track

from stages.errors import DataError
from stages.figures.answers import Agreement, PredictionCost
from stages.figures.cost import Machine
from stages.generation import constraint, decoding, likelihoods
from stages.models.loading import LanguageModel
from stages.predict import batches
from stages.records import Example, Message, Prediction
from stages.text import chat, thoughts
from stages.text.copied import origin
from stages.text.prompts import with_shots


class OfReference(TypedDict, total=False):
    """Fields of a prediction about the reference; none of a row whose reference is not scored."""

    reference_logprob: float
    reference_tokens: int


class OfChoices(TypedDict, total=False):
    """Fields of a prediction about the possible answers."""

    choice_logprobs: tuple[float, ...]
    choice_tokens: tuple[int, ...]


def predict(
    lm: LanguageModel,
    examples: Sequence[Example],
    shots: Mapping[str, Sequence[Message]],
    system: str,
    *,
    batch_size: int,
    max_new_tokens: int,
    likelihood_rows: int,
    schemas: Mapping[str, dict[str, Any]] = MappingProxyType({}),
    copied: bool = False,
) -> list[Prediction]:
    """Return one prediction per example, in their order; the references of the first `likelihood_rows` are scored.

    On a CPU, `batch_size` rows are answered at a time; on a GPU as many as fit. `shots` are the example turns in the prompts,
    by data set. Answers of the data sets in `schemas` are JSON objects of that schema, with `copied` texts from their prompts.

    Rows are batched in order of prompt length, those of a schema apart. A row's neighbours in a batch can change its text, so
    every run must form the same batches.
    """
    prompts = [chat.prompt_ids(lm.tokenizer, with_shots(example.prompt, shots[example.dataset])) for example in examples]
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), examples[i].id))
    groups: dict[str | None, list[tuple[int, int]]] = {}
    for i in order:
        groups.setdefault(_schema_of(examples[i], schemas), []).append((i, len(prompts[i]) + max_new_tokens))
    kept_to = {name: constraint.json_only(lm, schema, max_new_tokens, copied) for name, schema in schemas.items()}
    limits = batches.limits(lm, batch_size)
    formed = [(name, batch) for name, widths in groups.items() for batch in batches.split(widths, limits)]
    answers: dict[int, decoding.Completion] = {}
    for name, batch in track(formed, system):
        asked = [prompts[i] for i in batch]
        choose = decoding.likeliest if name is None else kept_to[name].choose([origin(examples[i].prompt) for i in batch])
        texts = decoding.generate(lm, asked, max_new_tokens, choose)
        answers.update(zip(batch, texts, strict=True))
    scored = references(lm, examples[:likelihood_rows], prompts, batch_size)
    thinking = {i for i, example in enumerate(examples) if example.messages[-1].reasoning}
    marks = thoughts.marks(lm.tokenizer) if thinking else None
    return [
        Prediction(
            example=example.id,
            system=system,
            prompt_tokens=len(prompts[i]),
            **asdict(answers[i]) | (_apart(answers[i].text, marks) if marks and i in thinking else {}),
            **(scored[i] if i < len(scored) else {}),
            **choices(lm, example, prompts[i]),
            parents=(example.id,),
        )
        for i, example in enumerate(examples)
    ]


def _schema_of(example: Example, schemas: Mapping[str, Any]) -> str | None:
    """Return the data set whose schema the answer has, None for a free text."""
    return example.dataset if example.kind == "extraction" and example.dataset in schemas else None


def _apart(text: str, marks: thoughts.Marks) -> dict[str, str]:
    before, answer = thoughts.separated(text, marks)
    return {"thoughts": before, "text": answer}


def references(
    lm: LanguageModel, examples: Sequence[Example], prompts: Sequence[list[int]], batch_size: int
) -> list[OfReference]:
    """Return log-likelihood (nats) and number of tokens of each example's reference, including its end token."""
    wanted = [chat.answer_ids(lm.tokenizer, example.messages) for example in examples]
    scored: list[OfReference] = []
    for start in range(0, len(examples), batch_size):
        rows = slice(start, start + batch_size)
        likely = likelihoods.log_likelihoods(lm, prompts[rows][: len(wanted[rows])], wanted[rows])
        scored += [
            {"reference_logprob": round(value, 4), "reference_tokens": len(ids)}
            for value, ids in zip(likely, wanted[rows], strict=True)
        ]
    return scored


def choices(lm: LanguageModel, example: Example, prompt: list[int]) -> OfChoices:
    """Return the fields of a prediction about the possible answers; none for an open question."""
    if not example.choices:
        return {}
    logprobs, tokens = likelihoods.choices(lm, prompt, example.choices)
    return {"choice_logprobs": tuple(round(value, 4) for value in logprobs), "choice_tokens": tuple(tokens)}


def with_passages(examples: Sequence[Example], shown: Sequence[Example]) -> list[Example]:
    """Return the questions of `shown` with a passage, in the order of `examples`; each has its plain question as parent."""
    by_question = {example.parents[0]: example for example in shown}
    if missing := [example.id for example in examples if example.id not in by_question]:
        raise DataError(
            f"predict.passage: {len(missing)} questions have no passage, e.g. {missing[0]}; it needs data.kind=documents"
        )
    return [by_question[example.id] for example in examples]


def to_the_question(predictions: Sequence[Prediction], shown: Sequence[Example]) -> list[Prediction]:
    """Return the predictions with the ids of the questions without a passage, as all other systems have them."""
    return [
        Prediction.model_validate(prediction.model_dump(exclude={"id"}) | {"example": example.parents[0]})
        for prediction, example in zip(predictions, shown, strict=True)
    ]


def agreement(
    lm: LanguageModel, examples: Sequence[Example], predictions: Sequence[Prediction], quantization: str
) -> Agreement:
    """Return the share of tokens in the given answers that the model would choose, and of rows in which it chooses all.

    One forward pass per row replaces slow 4-bit generation: if all tokens agree, greedy decoding gives the same text.
    """
    agreed, total, rows = 0, 0, 0
    for example, prediction in zip(examples, predictions, strict=False):
        prompt = chat.prompt_ids(lm.tokenizer, example.prompt)
        answer = chat.text_ids(lm.tokenizer, prediction.thoughts + prediction.text)
        if not answer:
            continue
        logits = likelihoods.forced(lm, prompt, answer)
        same = int((logits[:-1].argmax(-1) == torch.tensor(answer, device=lm.model.device)).sum())
        agreed, total, rows = agreed + same, total + len(answer), rows + (same == len(answer))
    counted = sum(bool(prediction.thoughts + prediction.text) for prediction in predictions[: len(examples)])
    return Agreement(
        rows=counted,
        token_agreement=round(agreed / total, 6) if total else None,
        row_agreement=round(rows / counted, 6) if counted else None,
        quantization=quantization,
    )


def cost(predictions: Sequence[Prediction], seconds: float, memory_peak_gib: float, machine: Machine) -> PredictionCost:
    new = sum(prediction.new_tokens for prediction in predictions)
    return PredictionCost(
        seconds=round(seconds, 1),
        rows=len(predictions),
        prompt_tokens=sum(prediction.prompt_tokens for prediction in predictions),
        new_tokens=new,
        new_tokens_per_second=round(new / seconds, 1),
        memory_peak_gib=memory_peak_gib,
        machine=machine,
    )

"""Measure general abilities: plain text, general multiple-choice questions, harmful and harmless requests.

Every system gets the same items, so that base and tuned models can be compared item by item.
"""

from collections.abc import Sequence
from math import log

from stages.figures.retention import Reply, Retained, ScoredChoice, Text
from stages.generation.decoding import greedy
from stages.generation.likelihoods import log_likelihoods
from stages.models.loading import LanguageModel
from stages.records import HARM, PLAIN_TEXT, Example
from stages.text import chat

REPLY = 32  # tokens; the first words show whether a reply is a refusal


def measure(lm: LanguageModel, general: Sequence[Example], batch_size: int) -> Retained:
    """Return bits and bytes per text, log-likelihoods per question's options, and the reply to each request.

    What is neither a text nor a question is a request, and a harmless one unless its slices name HARM.
    """
    texts = [example for example in general if PLAIN_TEXT in example.slices]
    questions = [example for example in general if example.choices]
    requests = [example for example in general if PLAIN_TEXT not in example.slices and not example.choices]
    return Retained(
        texts=[text for start in range(0, len(texts), batch_size) for text in _texts(lm, texts[start:][:batch_size])],
        choices=_questions(lm, questions, batch_size),
        harm=_replies(lm, [request for request in requests if HARM in request.slices], batch_size),
        harmless=_replies(lm, [request for request in requests if HARM not in request.slices], batch_size),
    )


def _texts(lm: LanguageModel, texts: Sequence[Example]) -> list[Text]:
    """Return bits and bytes of each text without its first token, which only conditions the rest."""
    ids = [chat.text_ids(lm.tokenizer, text.reference) for text in texts]
    likely = log_likelihoods(lm, [row[:1] for row in ids], [row[1:] for row in ids])
    sizes = [
        len(text.reference.encode()) - len(lm.tokenizer.decode(row[:1]).encode()) for text, row in zip(texts, ids, strict=True)
    ]
    return [Text(bits=round(-value / log(2), 3), bytes=size) for value, size in zip(likely, sizes, strict=True)]


def _questions(lm: LanguageModel, questions: Sequence[Example], batch_size: int) -> list[ScoredChoice]:
    """Return log-likelihoods (nats) and tokens of the options of each question; a batch has options of several questions."""
    options = [[chat.text_ids(lm.tokenizer, option) for option in example.choices] for example in questions]
    prompts = [_prompt(lm, example) for example, of in zip(questions, options, strict=True) for _ in of]
    ids = [option for of in options for option in of]
    batches = (slice(start, start + batch_size) for start in range(0, len(ids), batch_size))
    likely = iter([value for batch in batches for value in log_likelihoods(lm, prompts[batch], ids[batch])])
    return [
        ScoredChoice(
            logprobs=[round(next(likely), 4) for _ in of],
            tokens=[len(option) for option in of],
            answer=example.choices.index(example.reference),
        )
        for example, of in zip(questions, options, strict=True)
    ]


def _replies(lm: LanguageModel, requests: Sequence[Example], batch_size: int) -> list[Reply]:
    prompts = [_prompt(lm, request) for request in requests]
    given = [reply for start in range(0, len(prompts), batch_size) for reply in greedy(lm, prompts[start:][:batch_size], REPLY)]
    return [Reply(prompt=e.prompt[-1].content, text=reply.text) for e, reply in zip(requests, given, strict=True)]


def _prompt(lm: LanguageModel, example: Example) -> list[int]:
    return chat.prompt_ids(lm.tokenizer, example.prompt)

"""An ensemble without a model: the tuned models of all seeds and kept adapters put each answer to a vote.

Extraction: each field has the value that most objects give it. Choices: the option that most answers name, of equally many the
likelier one. Other texts: the answer that resembles the others most, by the F1 of ROUGE-L, which is minimum Bayes risk over
the answers (Kumar and Byrne 2004). Otherwise ties go to the first model; seeds come before kept adapters.
"""

import json
from collections import Counter
from collections.abc import Sequence
from math import exp, inf, log
from typing import Any

from stages.evaluate import choice, rouge
from stages.files import printable
from stages.records import Example, Prediction
from stages.systems import VOTE
from stages.text.objects import elements, parsed

MISSING: Any = object()


def vote(example: Example, answers: Sequence[Prediction]) -> Prediction:
    """Return one answer to the example of those in the order of the models.

    Its likelihoods are those of the mixture of the models, in which each has the same weight. It ended by itself if the answers
    that it was made of did, and it costs what all of them cost.
    """
    logprobs = _mixed([answer.choice_logprobs for answer in answers]) if all(a.choice_logprobs for a in answers) else ()
    if example.kind == "extraction":
        text, members = _by_field(answers)
    else:
        likeliest = _by_choice(example, answers, logprobs) if example.choices else _central([a.text for a in answers])
        text, members = answers[likeliest].text, [answers[likeliest]]
    known = [answer.reference_logprob for answer in answers if answer.reference_logprob is not None]
    first = answers[0]
    return Prediction(
        example=example.id,
        system=VOTE,
        text=text,
        stopped=all(answer.stopped for answer in members),
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        new_tokens=sum(answer.new_tokens for answer in answers),
        choice_logprobs=logprobs,
        choice_tokens=first.choice_tokens if logprobs else (),
        reference_logprob=_mixed([(value,) for value in known])[0] if len(known) == len(answers) else None,
        reference_tokens=first.reference_tokens,
        parents=tuple(answer.id for answer in answers),
    )


def _by_field(answers: Sequence[Prediction]) -> tuple[str, Sequence[Prediction]]:
    """Return the object of the values that most objects have, and the answers that are objects."""
    members = [answer for answer in answers if parsed(answer.text) is not None]
    if not members:
        return answers[0].text, answers[:1]
    objects = [parsed(answer.text) or {} for answer in members]
    fields = dict.fromkeys(field for found in objects for field in found)
    values = {field: _most_common([found.get(field, MISSING) for found in objects]) for field in fields}
    given = {field: value for field, value in values.items() if value is not MISSING}
    return printable(json.dumps(given, ensure_ascii=False)), members


def _most_common(values: Sequence[Any]) -> Any:
    keys = [None if value is MISSING else (isinstance(value, list), frozenset(elements(value))) for value in values]
    return values[keys.index(Counter(keys).most_common(1)[0][0])]


def _by_choice(example: Example, answers: Sequence[Prediction], logprobs: Sequence[float]) -> int:
    """Return the position of the first answer that names the chosen option; of the first answer where none names one."""
    chosen = [choice.named(answer.text, example.choices, by_letter=example.kind == "choice") for answer in answers]
    counts = Counter(position for position in chosen if position is not None)
    if not counts:
        return 0
    return chosen.index(max(counts, key=lambda position: (counts[position], logprobs[position] if logprobs else 0.0)))


def _central(texts: Sequence[str]) -> int:
    alike = [sum(rouge.rouge_l(text, other).f1 for other in texts) for text in texts]
    return alike.index(max(alike))


def _mixed(logprobs: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the log of the mean probability of each option over the models."""
    found = []
    for column in zip(*logprobs, strict=True):
        highest = max(column)
        sums = sum(exp(value - highest) for value in column) if highest > -inf else 1.0
        found.append(round(highest + log(sums / len(column)), 4))
    return tuple(found)

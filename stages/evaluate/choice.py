"""Multiple choice and classification: the choice that the answer names, the likeliest one, and the model's confidence."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from math import exp

from stages.errors import DataError
from stages.evaluate import letters
from stages.records import Example, Prediction
from stages.text.comparing import content, exact, verbatim

BINS = 10
NO_LABEL = "(none)"
JOINING = frozenset("+-<>≤≥≠±×÷*/^√¬∧∨")  # next to a part of an answer, such a sign makes another expression of it
LISTED = re.compile(r"^[A-Z]\. ", re.MULTILINE)


def score(example: Example, prediction: Prediction) -> tuple[dict[str, float], dict[str, float]]:
    """Score the named choice and the one with the highest log-likelihood, in sum and per token (`_norm`).

    Measured: `disagreement` of the named and the likeliest choice, and the likeliest one's probability among the choices
    (`confidence`). The Brier score is the squared distance of all probabilities from the truth (Brier 1950; 0 to 2).
    """
    if example.reference not in example.choices:
        raise DataError(f"{example.id}: the reference {example.reference!r} is not among its choices")
    right = example.choices.index(example.reference)
    chosen = named(prediction.text, example.choices, by_letter=example.kind == "choice")
    scores = {"accuracy": float(chosen == right)}
    if not prediction.choice_logprobs:
        return scores, {}
    plain, per_token = likeliest(prediction.choice_logprobs, prediction.choice_tokens)
    chances = probabilities(prediction.choice_logprobs)
    brier = sum((chance - (position == right)) ** 2 for position, chance in enumerate(chances))
    scores |= {"logprob_accuracy": float(plain == right), "logprob_accuracy_norm": float(per_token == right)}
    return scores, {"disagreement": float(chosen != plain), "confidence": chances[plain], "brier": brier}


def totals(examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return mean `disagreement` and `brier`, the calibration error, macro F1 of a classification, and `order_agreement`."""
    measured = _measured(examples, predictions)
    numbers = {name: sum(m[name] for _, m in measured) / len(measured) for name in ("disagreement", "brier") if measured}
    if measured:
        numbers["ece"] = expected_calibration_error(reliability(examples, predictions))
    if rows := confusion(examples, predictions):
        numbers["macro_f1"] = macro_f1([(row["actual"], row["predicted"]) for row in rows])
    return numbers | order_agreement(examples, predictions)


def order_agreement(examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return the share of questions whose chosen option is the same in every order of the options.

    `order_agreement` uses the answer, `logprob_order_agreement` the likelihood; an answer that names no option agrees with
    none. Empty where no question is asked in several orders.
    """
    pairs = list(zip(examples, predictions, strict=True))
    chosen = {"order_agreement": [named(p.text, e.choices, by_letter=e.kind == "choice") for e, p in pairs]}
    if all(prediction.choice_logprobs for prediction in predictions):
        chosen["logprob_order_agreement"] = [likeliest(p.choice_logprobs, p.choice_tokens)[0] for p in predictions]
    found = {name: _same_in_all_orders(examples, positions) for name, positions in chosen.items()}
    return {name: sum(same) / len(same) for name, same in found.items() if same}


def _same_in_all_orders(examples: Sequence[Example], positions: Sequence[int | None]) -> list[bool]:
    """Return one value per question with several orders."""
    asked: dict[tuple[str, ...], dict[tuple[str, ...], str | None]] = {}
    for example, position in zip(examples, positions, strict=True):
        chosen = None if position is None else example.choices[position]
        asked.setdefault(_question(example), {})[example.choices] = chosen
    return [
        None not in by_order.values() and len(set(by_order.values())) == 1 for by_order in asked.values() if len(by_order) > 1
    ]


def asked_again(examples: Sequence[Example]) -> int:
    """Return the number of rows that ask a question of the same source in a further order of its options."""
    orders = {(_question(example), example.source, example.choices) for example in examples if example.choices}
    return len(orders) - len({(question, source) for question, source, _ in orders})


def _question(example: Example) -> tuple[str, ...]:
    """Return what all orders of a question share: its lines without the letters before the options, and the options."""
    lines = LISTED.sub("", "\n".join(message.content for message in example.prompt)).split("\n")
    return (*sorted(lines), *sorted(example.choices))


def confusion(examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[dict[str, str]]:
    """Return one row of `actual` and `predicted` label per item of a classification, for DVC's template `confusion`."""
    return [
        {"actual": example.reference, "predicted": _label(prediction.text, example.choices)}
        for example, prediction in zip(examples, predictions, strict=True)
        if example.kind == "classification"
    ]


def reliability(examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[dict[str, float]]:
    """Return the non-empty ones of ten equal bins of confidence, each with its mean confidence, accuracy and size."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for hit, measures in _measured(examples, predictions):
        bins.setdefault(min(int(measures["confidence"] * BINS), BINS - 1), []).append((measures["confidence"], hit))
    return [
        {
            "confidence": round(sum(confidence for confidence, _ in found) / len(found), 6),
            "accuracy": round(sum(hit for _, hit in found) / len(found), 6),
            "count": len(found),
        }
        for _, found in sorted(bins.items())
    ]


def _measured(examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[tuple[float, dict[str, float]]]:
    """Return whether the likeliest choice is right, and the measures, of items whose choices have a likelihood."""
    pairs = zip(examples, predictions, strict=True)
    scored = [score(example, prediction) for example, prediction in pairs if prediction.choice_logprobs]
    return [(scores["logprob_accuracy"], measures) for scores, measures in scored]


def _label(answer: str, choices: Sequence[str]) -> str:
    position = named(answer, choices, by_letter=False)
    return NO_LABEL if position is None else choices[position]


def named(answer: str, choices: Sequence[str], by_letter: bool) -> int | None:
    """Return the position of the one choice that the answer names, None where it names none or several.

    An answer names a choice in one of four ways, tried in this order:
    it equals the choice; it states one letter ("B", "B. text", "the answer is B"); it contains the whole choice; it contains
    the words that only this choice has, since all choices may be sentences like "The correct answer is …". Of choices
    contained in each other the longest counts. Texts are compared by their `content`, or more strictly where that does not
    tell all choices apart.
    """
    for same in (str.strip, exact):
        if [same(choice) for choice in choices].count(same(answer)) == 1:
            return [same(choice) for choice in choices].index(same(answer))
    parts = next(compare for compare in (content, exact, verbatim) if compare is verbatim or _tells_apart(compare, choices))
    words, listed = parts(answer), [parts(choice) for choice in choices]
    if words in listed:
        return listed.index(words)
    lettered, is_discussed = letters.stated(answer, choices) if by_letter else ([], False)
    held = _held(listed, words)
    if len(lettered) == 1 and not (is_discussed and len(held) == 1):
        return lettered[0]
    if len(bare := _bare(listed, words)) == 1:
        return bare[0]
    for found in (held, lettered, _held(_apart(listed), words)):
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _tells_apart(compare: Callable[[str], tuple[str, ...]], choices: Sequence[str]) -> bool:
    return len({compare(choice) for choice in choices}) == len(choices)


def _held(parts: Sequence[tuple[str, ...]], words: tuple[str, ...]) -> list[int]:
    """Return positions of the parts that occur in the words, without those contained in another one."""
    held = [position for position, part in enumerate(parts) if _within(part, words)]
    return [p for p in held if not any(q != p and _within(parts[p], parts[q]) for q in held)]


def _within(part: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Return whether the part occurs in the words with no sign next to it that changes it: 3 is not within x > 3."""
    sought, text = f" {' '.join(part)} ", f" {' '.join(words)} "  # no word holds a blank
    start = text.find(sought) if part else -1
    while start >= 0:
        end = start + len(sought) - 1
        before, after = text[text.rfind(" ", 0, start) + 1 : start], text[end + 1 : text.find(" ", end + 1)]
        if JOINING.isdisjoint((before, after)):
            return True
        start = text.find(sought, end)
    return False


def _bare(listed: Sequence[tuple[str, ...]], words: tuple[str, ...]) -> list[int]:
    """Return positions of the choices that are these words between beginnings and ends that all choices share."""
    begin, end = _shared(listed), _shared([choice[::-1] for choice in listed])
    sought, bare = f" {' '.join(words)} ", []
    for position, choice in enumerate(listed):
        rest = len(choice) - len(words)
        first, last = max(0, rest - end), min(begin, rest)  # where the words may start
        if words and first <= last and sought in f" {' '.join(choice[first : last + len(words)])} ":
            bare.append(position)
    return bare


def _apart(listed: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the choices without the words with which all of them begin or end; of each at least one word is left."""
    begin = min(_shared(listed), min(map(len, listed)) - 1)
    rest = [words[begin:] for words in listed]
    end = min(_shared([words[::-1] for words in rest]), min(map(len, rest)) - 1)
    return [words[: len(words) - end] for words in rest]


def _shared(listed: Sequence[tuple[str, ...]]) -> int:
    """Return the number of equal words with which all of them begin."""
    columns = enumerate(zip(*listed, strict=False))
    return next((number for number, words in columns if len(set(words)) > 1), min(map(len, listed)))


def likeliest(logprobs: Sequence[float], lengths: Sequence[int]) -> tuple[int, int]:
    """Return the positions of the highest log-probability and of the highest one per token; the first of equal ones."""
    per_token = [logprob / max(length, 1) for logprob, length in zip(logprobs, lengths, strict=True)]
    return max(range(len(logprobs)), key=logprobs.__getitem__), max(range(len(logprobs)), key=per_token.__getitem__)


def probabilities(logprobs: Sequence[float]) -> list[float]:
    """Return the softmax: the probability of each choice, given that it is one of them."""
    weights = [exp(logprob - max(logprobs)) for logprob in logprobs]
    return [weight / sum(weights) for weight in weights]


def expected_calibration_error(bins: Sequence[dict[str, float]]) -> float:
    """Return the mean gap of confidence and accuracy, weighted by bin size (Guo et al. 2017, arXiv:1706.04599, eq. 3)."""
    total = sum(row["count"] for row in bins)
    return sum(row["count"] / total * abs(row["confidence"] - row["accuracy"]) for row in bins)


def macro_f1(rows: Sequence[tuple[str, str]]) -> float:
    """Return the mean F1 of the labels that occur in rows of (actual, predicted); an answer without a label only misses one."""
    hits = Counter(actual for actual, predicted in rows if actual == predicted)
    actual, predicted = Counter(actual for actual, _ in rows), Counter(predicted for _, predicted in rows)
    labels = actual.keys() | (predicted.keys() - {NO_LABEL})
    return sum(2 * hits[label] / (actual[label] + predicted[label]) for label in sorted(labels)) / len(labels)

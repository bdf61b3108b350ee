"""Question answering: the words of answer and reference, and whether the answer declines exactly when it should."""

from collections import Counter
from collections.abc import Sequence

from stages.evaluate.rouge import rouge_l
from stages.records import Example, Prediction
from stages.slices import is_to_decline
from stages.text.comparing import content, exact
from stages.text.declining import declines


def score(example: Example, prediction: Prediction) -> tuple[dict[str, float], dict[str, float]]:
    """Return exact match, token F1 (Rajpurkar et al. 2016, arXiv:1606.05250; articles kept) and ROUGE-L.

    Exact match compares texts by `exact`, token F1 by `content`: signs count in both. Chinese, Japanese and Korean count by
    characters. Where the right answer is to decline, `declined` is the only score. Elsewhere `answered` is 1 if the answer
    neither is empty nor declines. The reference itself declines, or answers, whatever its words are.
    """
    declined = _declined(example, prediction)
    if is_to_decline(example.slices):
        return {"declined": float(declined)}, {}
    given, right = content(prediction.text), content(example.reference)
    common = (Counter(given) & Counter(right)).total()
    longest = rouge_l(prediction.text, example.reference)
    scores = {
        "exact_match": float(_same(example, prediction)),
        "token_f1": 2 * common / (len(given) + len(right)) if given or right else 1.0,
        "rouge_l": longest.f1,
        "answered": float(_answered(example, prediction)),
    }
    return scores, {"rouge_l_precision": longest.precision, "rouge_l_recall": longest.recall}


def totals(examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return `decline_balanced`: the mean of the shares rightly declined and rightly answered; empty unless rows have both."""
    pairs = list(zip(examples, predictions, strict=True))
    declined = [_declined(example, given) for example, given in pairs if is_to_decline(example.slices)]
    answered = [_answered(example, given) for example, given in pairs if not is_to_decline(example.slices)]
    if not (declined and answered):
        return {}
    return {"decline_balanced": (sum(declined) / len(declined) + sum(answered) / len(answered)) / 2}


def _declined(example: Example, prediction: Prediction) -> bool:
    return is_to_decline(example.slices) if _same(example, prediction) else declines(prediction.text)


def _answered(example: Example, prediction: Prediction) -> bool:
    return bool(prediction.text.strip()) and not _declined(example, prediction)


def _same(example: Example, prediction: Prediction) -> bool:
    return exact(prediction.text) == exact(example.reference)

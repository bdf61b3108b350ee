"""Question answering: the answer's words against the reference's, and whether it declines when, and only when, it should."""

from collections import Counter
from collections.abc import Sequence

from stages.evaluate.rouge import rouge
from stages.records import UNANSWERABLE, Example, Prediction
from stages.text.words import declines, tokens


def score(example: Example, prediction: Prediction) -> tuple[dict[str, float], dict[str, float]]:
    """Exact match of the normalised text and token F1 (Rajpurkar et al. 2016, arXiv:1606.05250; articles are kept), ROUGE-L.

    Chinese, Japanese and Korean count by characters. Where the right answer is to decline only that counts: `declined`;
    everywhere else `answered` says that the answer did not decline.
    """
    declined = declines(prediction.text)
    if UNANSWERABLE in example.slices:
        return {"declined": float(declined)}, {}
    given, right = tokens(prediction.text), tokens(example.reference)
    common = (Counter(given) & Counter(right)).total()
    longest = rouge(prediction.text, example.reference, ("rouge_l",))["rouge_l"]
    scores = {
        "exact_match": float(given == right),
        "token_f1": 2 * common / (len(given) + len(right)) if given or right else 1.0,
        "rouge_l": longest.f1,
        "answered": float(not declined),
    }
    return scores, {"rouge_l_precision": longest.precision, "rouge_l_recall": longest.recall}


def totals(examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
    """`decline_balanced`: the mean of how often it declined when it should and answered when it should; needs both kinds."""
    should = [UNANSWERABLE in example.slices for example in examples]
    did = [declines(prediction.text) for prediction in predictions]
    if all(should) or not any(should):
        return {}
    declined = [d for s, d in zip(should, did, strict=True) if s]
    answered = [not d for s, d in zip(should, did, strict=True) if not s]
    return {"decline_balanced": (sum(declined) / len(declined) + sum(answered) / len(answered)) / 2}

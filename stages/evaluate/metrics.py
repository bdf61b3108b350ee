"""The metrics of one answer, by kind of task; each is between 0 and 1, and higher is better."""

import json
import re
from collections import Counter
from typing import Any

from stages.records import Example, Prediction

TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")


def score(example: Example, prediction: Prediction) -> dict[str, float]:
    """Scores of the example's task kind, and whether the model stopped by itself."""
    by_kind = {"extraction": extraction, "text": text}[example.kind]
    return {**by_kind(prediction.text, example.reference), "stop_rate": float(prediction.stopped)}


def extraction(answer: str, reference: str) -> dict[str, float]:
    """One JSON object against the reference's fields: equal after parsing; null equals only null.

    `field_exact` is the share of the reference's fields that are right (its mean over rows is the micro average, since all
    rows have the same fields); `record_exact` asks for all of them and no other field. No object: every field is wrong.
    """
    right, found = json.loads(reference), parsed(answer)
    exact = {key: float(found is not None and key in found and same(found[key], value)) for key, value in right.items()}
    return {
        "json_valid": float(found is not None),
        "field_exact": sum(exact.values()) / len(exact) if exact else float(found == right),
        "record_exact": float(found is not None and found.keys() == right.keys() and all(exact.values())),
        **{f"{key}_exact": value for key, value in exact.items() if key not in ("field", "record")},
    }


def parsed(answer: str) -> dict[str, Any] | None:
    """The answer as a JSON object, or None; text around the object makes it invalid."""
    try:
        value = json.loads(answer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def same(a: Any, b: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def text(answer: str, reference: str) -> dict[str, float]:
    """Exact match of the normalised text and token F1 (Rajpurkar et al. 2016, arXiv:1606.05250; articles are kept)."""
    given, right = tokens(answer), tokens(reference)
    common = sum((Counter(given) & Counter(right)).values())
    f1 = 2 * common / (len(given) + len(right)) if given or right else 1.0
    return {"exact_match": float(given == right), "token_f1": f1}


def tokens(value: str) -> list[str]:
    """Lower-case words; each Chinese, Japanese or Korean character is one. A text of signs alone is not nothing."""
    return TOKEN.findall(value.lower()) or value.split()

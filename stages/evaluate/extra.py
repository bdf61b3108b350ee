"""More metrics of the `evaluate` hub, each at a commit; each downloads its program when it is first used."""

from collections.abc import Sequence
from numbers import Real

from stages.errors import DataError, reason


def totals(names: Sequence[str], answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return every number that these metrics give, e.g. `meteor`, `ter_score`; the mean where there is one per item."""
    found: dict[str, float] = {}
    for pinned in names:
        name = pinned.partition("@")[0]
        for key, value in _computed(pinned, answers, references).items():
            numbers = [x for x in (value if isinstance(value, list) else [value]) if isinstance(x, Real)]
            if numbers:
                found[name if key == name else f"{name}_{key}"] = sum(map(float, numbers)) / len(numbers)
    return found


def _computed(pinned: str, answers: Sequence[str], references: Sequence[str]) -> dict[str, object]:
    import evaluate

    name, _, commit = pinned.partition("@")
    step = "cannot be loaded; it needs the Hugging Face hub and perhaps further packages"
    try:
        metric = evaluate.load(name, revision=commit)
        step = "does not take texts as predictions and references"
        return metric.compute(predictions=list(answers), references=list(references)) or {}
    except Exception as error:  # third-party code can raise any error
        raise DataError(f"evaluate.extra: {name} {step} ({reason(error)}); go online or set evaluate.extra to []") from None

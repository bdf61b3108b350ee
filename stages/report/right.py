"""Which answers are right: the verdict that the examples of the page show, before and after tuning or alignment."""

import numpy as np

from stages.formatting import SPACE, metric_name, percent
from stages.report.item_scores import Table
from stages.statistics import Array
from stages.systems import TUNED

DECLINED = "declined"  # the only metric of a row whose right answer is to decline
OVERLAP = ("token_f1", "rouge_", "sentence_")  # beginnings of metrics of words in common, of which no good answer needs all


def answers(table: Table, system: str, headline: str) -> Array:
    """Return whether each answer is right by the headline; where that does not apply, whether it declines as it should."""
    right: Array = table.column(system, headline) >= _least(headline)  # False where it does not apply
    to_decline = _to_decline(table, headline)
    return np.where(to_decline, table.column(system, DECLINED) == 1, right) if to_decline.any() else right


def rule(table: Table, headline: str) -> str:
    """Return in words which answers are right."""
    least = percent(_least(headline))
    text = f"{metric_name(headline)} is {'at least ' if _least(headline) < 1 else ''}{least}{SPACE}%"
    return text + (", or the answer declines where it should" if _to_decline(table, headline).any() else "")


def _least(headline: str) -> float:
    """Return the lowest score of a right answer: 1, but half for words in common."""
    return 0.5 if headline.startswith(OVERLAP) else 1.0


def _to_decline(table: Table, headline: str) -> Array:
    """Return the rows that have no headline because the right answer is to decline."""
    lacking = np.isnan(table.column(TUNED, headline))
    return lacking & ~np.isnan(table.column(TUNED, DECLINED)) if DECLINED in table.metrics else np.zeros_like(lacking)

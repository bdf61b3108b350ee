"""The gate: whether head lost more than its margin in the headline and in each metric that report.gate names.

Every such metric was named before the scores were seen, so each is judged by its own p, without Holm's adjustment.
"""

from dataclasses import dataclass, replace

import numpy as np

from stages import formatting
from stages.commands.compare import outcome
from stages.commands.compare.shapes import Yardstick
from stages.commands.compare.sides import RETENTION as FILE
from stages.commands.compare.sides import Side
from stages.pages import one_line
from stages.params.headline import RETENTION
from stages.report.item_scores import lacking, with_slice
from stages.report.retention import COUNTED, General, compare
from stages.report.summary import changed
from stages.statistics import SIGNIFICANT, Difference, Rate
from stages.systems import TUNED

BITS = "bits_per_byte"  # the only metric that is not a share
LESS_IS_BETTER = (BITS, "over_refusal_rate")
ITEMS = "data/formatted/general.jsonl"


@dataclass(frozen=True)
class Judged:
    """A metric of the gate on both sides, head minus base; `option` is the parameter that holds its margin.

    `difference` is None where the metric cannot be judged; `reason` says why.
    """

    metric: str
    option: str
    margin: float
    before: Rate | float | None = None
    after: Rate | float | None = None
    difference: Difference | None = None
    reason: str = ""

    @property
    def is_bits(self) -> bool:
        return self.metric == BITS

    @property
    def outcome(self) -> str:
        """Return fails for a significant loss of which the whole interval is beyond the margin, else passes or open.

        It is open, which does not fail the gate, if the interval does not exclude such a loss; undecided if there is none.
        """
        if self.difference is None:
            return "undecided"
        _, low, high = self._loss(self.difference)
        if low > self.margin and self.difference.p < SIGNIFICANT:
            return "fails"
        return "passes" if high <= self.margin else "open"

    @property
    def sentence(self) -> str:
        """Return what the gate refuses: metric, loss with its interval, margin; or why it cannot be judged."""
        name = formatting.metric_name(self.metric)
        if self.difference is None:
            return f"{name} cannot be judged by {self.option}: {self.reason}"
        loss, low, high = (self._shown(value) for value in self._loss(self.difference))
        verb, unit = "rose" if self.metric in LESS_IS_BETTER else "fell", "" if self.is_bits else " points"
        return f"{name} {verb} by {loss}{unit} (95 % interval {low} to {high}), beyond {self.option} = {self.margin:g}"

    def _loss(self, found: Difference) -> tuple[float, float, float]:
        """Return mean, low and high of the loss."""
        less = self.metric in LESS_IS_BETTER
        return (found.mean, found.low, found.high) if less else (-found.mean, -found.high, -found.low)

    def _shown(self, loss: float) -> str:
        return formatting.figure(loss) if self.is_bits else formatting.signed(loss).lstrip("+")


def judge(base: Side, head: Side, by: Yardstick) -> list[Judged]:
    """Return the headline, then each metric of report.gate."""
    named = [(by.headline, "report.margin", by.margin)]
    named += [(metric, f"report.gate.{metric}", margin) for metric, margin in by.gate.items()]
    return [
        (_retention if metric in RETENTION else _rows)(base, head, Judged(metric, option, margin), by)
        for metric, option, margin in named
    ]


def _rows(base: Side, head: Side, asked: Judged, by: Yardstick) -> Judged:
    """Judge a metric of the rows of the split."""
    if not outcome.same_rows(base, head):
        return replace(asked, reason="the two runs answered different rows; decide without --gate")
    for side in (base, head):
        if found := lacking(side.table, asked.metric):
            return replace(asked, reason=one_line(f"{side.name}: {found}"))
    both = outcome.paired(with_slice(base.table, asked.metric), with_slice(head.table, asked.metric), [asked.metric])
    if np.isnan(both.column(outcome.BASE, asked.metric)).all():
        return replace(asked, reason="no row has it on both sides")
    change = changed(both, outcome.BASE, asked.metric, by.resamples, by.seed, by.margin, [asked.metric])[asked.metric]
    before, after = (both.rate(system, asked.metric) for system in (outcome.BASE, TUNED))
    return replace(asked, before=before, after=after, difference=change.difference)


def _retention(base: Side, head: Side, asked: Judged, by: Yardstick) -> Judged:
    """Judge a measure of general abilities as the report does, with base's model in the place of the untuned one."""
    for side in (base, head):
        if side.general is None:
            path = f"reports/{side.params['name']}/{FILE}"
            return replace(asked, reason=f"{side.name}: {path} is missing; run `dvc repro` there and commit what it writes")
    before, after = ([item for item in side.general or () if item.measure == asked.metric] for side in (base, head))
    if _measured(base) != _measured(head):
        return replace(asked, reason="the two runs measured other texts, questions or requests; decide without --gate")
    if [item.size for item in before] != [item.size for item in after]:
        return replace(asked, reason="the tokenizers of the two models divide the texts in other ways; decide without --gate")
    rows = [
        General(measure=old.measure, size=old.size, scores=_of(base, old, "before") | _of(head, new, "after"))
        for old, new in zip(before, after, strict=True)
    ]
    first, last = ([f"{place} {system}" for system in side.tuned] for place, side in (("before", base), ("after", head)))
    found = compare(rows, first, last, by.resamples, by.seed, asked.margin).get(asked.metric)
    if found is None:
        return replace(asked, reason=f"neither run measured {COUNTED[asked.metric]}; see retention.path and retention.texts")
    if found.difference is None:
        return replace(asked, reason=f"the model of {base.name} is not above chance, so it has nothing to lose; leave it out")
    return replace(asked, before=found.before, after=found.after, difference=found.difference)


def _measured(side: Side) -> str | None:
    """Return the hash of the general items, None if dvc.lock does not have it."""
    return side.outputs()[ITEMS].md5 if ITEMS in side.outputs() else None


def _of(side: Side, item: General, place: str) -> dict[str, float]:
    """Return the scores of a side's tuned models, under names that the other side does not have."""
    return {f"{place} {system}": item.scores[system] for system in side.tuned}

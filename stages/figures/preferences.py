"""Where pairs come from, what their verdicts are worth, and what they cost."""

from stages.figures import Figures
from stages.figures.cost import Machine, TeacherCost


class PairSource(Figures):
    """What one source of pairs gave: candidates, those that were dropped by reason, and the pairs and votes that are left.

    `from_reference` counts pairs whose better answer is the reference; `held_out` those that are not trained on.
    """

    candidates: int
    dropped: dict[str, int]
    kept: int
    held_out: int
    from_reference: int
    votes: int


class LengthClass(Figures):
    """Verdicts on answers whose lengths differ by a class of ratios, and the share that the longer answer won."""

    ratio: str
    wins: int
    longer_won: float | None


class Judged(Figures):
    """What the judge's verdicts are worth; shares are None where nothing was counted.

    `consistency`: verdicts that agree in both orders, among pairs with two usable ones. `first_shown`: verdicts for the answer
    shown first, without ties (0.5 is fair). `longer_won`: wins of the longer answer. `agreement`: wins that the verifier
    confirms, among the `compared` ones, in which it scores the two answers differently.
    """

    prompts: int
    wins: int
    ties: int
    inconsistent: int
    unusable: int
    consistency: float | None
    first_shown: float | None
    longer_won: float | None
    by_length: list[LengthClass]
    compared: int
    agreement: float | None


class Rated(Figures):
    """What people rated: `conflicts` are pairs of answers that two raters put in opposite orders, among those `compared`."""

    raters: int
    answers: int
    ratings: int
    compared: int
    conflicts: int


class Preferences(Figures):
    """Where the pairs of one seed come from, by source.

    `no_prompts` counts training rows that are not sampled, by reason. `right` is the share of samples with full score,
    `mixed` the share of prompts whose samples differ in score. Lengths are means in tokens, with the end.
    """

    prompts: int
    samples: int
    no_prompts: dict[str, int]
    score: float | None
    right: float | None
    mixed: float | None
    sources: dict[str, PairSource]
    pairs: int
    held_out: int
    votes: int
    chosen_tokens: float | None
    rejected_tokens: float | None
    judge: Judged | None = None
    people: Rated | None = None


class PreferencesCost(Figures):
    """Time and memory of one run. Samples that an earlier run had stored count with the seconds that they took it.

    Answers of a teacher that were stored cost nothing. `new_tokens` are those of all samples.
    """

    seconds: float
    sampling_seconds: float
    reference_seconds: float
    memory_peak_gib: float
    new_tokens: int
    teacher: TeacherCost | None
    machine: Machine

"""Users' feedback on each system: the share of votes for it with an interval, and how many answers they corrected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages import figures, records
from stages.feedback.records import Answer, Feedback
from stages.figures.feedback import FeedbackFunnel
from stages.report.results import Numbers, flat
from stages.statistics import Rate, rate_interval

SHORT = 8  # digits of the hash of weights, which tell two trainings of a system apart


@dataclass(frozen=True)
class Opinion:
    """Feedback on a system, or on its answers in a slice; `up` is None without a vote."""

    system: str
    slice: str
    up: Rate | None
    corrections: int


@dataclass(frozen=True)
class Heard:
    """What became of all rows, and what they say of each system, followed by its slices."""

    funnel: FeedbackFunnel
    systems: list[Opinion]


def read(folder: Path) -> Heard | None:
    """Return the feedback on each system, None where none was asked for."""
    funnel = figures.read(folder / "funnel.json", FeedbackFunnel)
    if not funnel.rows:
        return None
    answers = {answer.id: answer for answer in records.read(folder / "answers.jsonl", Answer)}
    return Heard(funnel, systems(list(records.read(folder / "feedback.jsonl", Feedback)), answers))


def systems(rows: Sequence[Feedback], answers: Mapping[str, Answer]) -> list[Opinion]:
    """Return the feedback on each system, in the order of their names.

    All votes count, also where users contradict each other. The votes of one user are one cluster of the interval.
    """
    groups: dict[tuple[str, str], list[Feedback]] = {}
    for row in rows:
        for name in dict.fromkeys(("", row.slice)):
            groups.setdefault((_name(answers[row.parents[0]]), name), []).append(row)
    return [_opinion(system, name, found) for (system, name), found in sorted(groups.items())]


def _name(answer: Answer) -> str:
    return " ".join(filter(None, (answer.system or "unknown", answer.weights[:SHORT])))


def _opinion(system: str, name: str, rows: Sequence[Feedback]) -> Opinion:
    votes = [row for row in rows if row.vote]
    ups, users = np.array([row.vote == "up" for row in votes], float), np.array([row.user or row.id for row in votes])
    up = rate_interval(ups, users) if votes else None
    return Opinion(system, name, up, sum(bool(row.correction) for row in rows))


def numbers(heard: Heard | None) -> dict[str, Numbers] | None:
    """Return by system the share of votes for it with its bounds, its votes and users, and its corrections."""
    if not heard:
        return None
    return {
        opinion.system: {
            **(flat("up", opinion.up) | {"n": opinion.up.n, "users": opinion.up.clusters} if opinion.up else {}),
            "corrections": opinion.corrections,
        }
        for opinion in heard.systems
        if not opinion.slice
    }


def without_slices(heard: Heard | None) -> Heard | None:
    """Return the same without slices, whose names come from the users' file."""
    return heard and Heard(heard.funnel, [opinion for opinion in heard.systems if not opinion.slice])

"""The requests, tokens and cost of a synthesis, per method, before anything is sent.

The methods run as they are, with a teacher that returns stored answers only. Each request names the number of later requests
that its answer may lead to (answers to questions, checks of answers), as `follow_ups`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stages import params
from stages.errors import DataError
from stages.records import Call
from stages.synthesize.methods import METHODS, RAW, read_inputs
from stages.teachers.backends import backend
from stages.teachers.teacher import Ask, Teacher, about, numbered


class Estimate(NamedTuple):
    """Requests now and, at most, later; tokens and cost, at most, if later requests are as long as those to send now.

    Tokens and cost stop at the budget; requests do not, since answers may be shorter than they can be.
    """

    answered: int
    now: int
    later: int
    prompt_tokens: int
    new_tokens: int
    usd: float
    limit: str


LABELS = (
    "answered already",
    "to request now",
    "to request later, at most",
    "prompt tokens, about",
    "new tokens, at most",
    "USD, at most",
    "limit that ends tokens and USD",
)


def plan() -> dict[str, Estimate]:
    """Return the figures of each method in params.yaml; needs what fetch wrote."""
    p, runtime = params.read("seed", "data", "teacher", "synthesis"), params.runtime()
    if not (RAW / "seeds.jsonl").is_file():
        raise DataError(f"{RAW}: nothing is fetched yet; run `dvc repro fetch` first")
    planned: dict[str, Estimate] = {}
    for method in p.synthesis.methods:
        if method in METHODS:
            teacher = Planned(backend(p.teacher, runtime), p.synthesis.budget, p.seed)
            METHODS[method](read_inputs(p.data), teacher, getattr(p.synthesis, method), p.seed)
            planned[method] = teacher.figures()
    return planned


@dataclass
class Planned(Teacher):
    """A teacher that records what it would have requested."""

    wanted: list[Ask] = field(default_factory=list)

    def answer(self, asks: Sequence[Ask]) -> list[Call | None]:
        answers: list[Call | None] = []
        for wave in self.backend.waves(numbered(asks)[: self._left()]):
            for unit in wave:
                known = self.stored(unit).is_file()
                calls = self._read(unit) if known else [None] * len(unit)
                self.wanted += [] if known else unit
                self.calls += [call for call in calls if call]
                answers += calls
        return answers + [None] * (len(asks) - len(answers))

    def _left(self) -> int | None:
        """Return how many requests the budget still allows; None without a limit."""
        limit = self.budget.max_calls
        return None if limit is None else max(0, limit - len(self.calls) - len(self.wanted))

    def figures(self) -> Estimate:
        prompt = sum(about(message.content) for ask in self.wanted for message in ask.messages)
        new = sum(ask.sampling.max_new_tokens for ask in self.wanted)
        later = sum(ask.follow_ups for ask in self.wanted)
        later = later if self.budget.max_calls is None else min(later, self._left() or 0)
        growth = 1 + later / len(self.wanted) if self.wanted else 1
        share, limit = min([(1.0, ""), *self._covered(prompt * growth, new * growth)])
        prompt, new = round(prompt * growth * share), round(new * growth * share)
        usd = round(self.backend.usd(prompt, new), 4)
        return Estimate(len(self.calls), len(self.wanted), later, prompt, new, usd, limit)

    def _covered(self, prompt: float, new: float) -> list[tuple[float, str]]:
        """Return, for each limit on tokens or money, the share of the remaining requests that it has room for, and its name."""
        before = self._tokens()
        amounts = {
            "max_tokens": (sum(before), prompt + new),
            "max_usd": (self.backend.usd(*before), self.backend.usd(round(prompt), round(new))),
        }
        return [
            (max(0.0, limit - used) / wanted, f"synthesis.budget.{name} = {limit}")
            for name, (used, wanted) in amounts.items()
            if (limit := getattr(self.budget, name)) is not None and wanted
        ]

"""What a synthesis would ask, before it asks: requests, how many are answered already, tokens and cost, by method.

The methods run as they are, with a teacher that hands out stored answers only. What its unanswered requests may lead to
(answers to questions, checks of answers) they say themselves, as `follow_ups`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stages import params
from stages.errors import DataError
from stages.records import Call
from stages.synthesize.methods import METHODS, RAW, read_inputs
from stages.teachers.backends import backend
from stages.teachers.teacher import Ask, Teacher, about, numbered


def plan() -> dict[str, dict[str, Any]]:
    """Figures of each method that params.yaml names; needs what fetch wrote."""
    p, runtime = params.read("seed", "data", "teacher", "synthesis"), params.runtime()
    if not (RAW / "seeds.jsonl").is_file():
        raise DataError(f"{RAW}: nothing is fetched yet; run `dvc repro fetch` first")
    planned: dict[str, dict[str, Any]] = {}
    for method in p.synthesis.methods:
        if method in METHODS:
            teacher = Planned(backend(p.teacher, runtime), p.synthesis.budget, p.seed)
            METHODS[method](read_inputs(p.data), teacher, getattr(p.synthesis, method), p.seed)
            planned[method] = teacher.figures()
    return planned


@dataclass
class Planned(Teacher):
    """A teacher that remembers what it would have asked."""

    wanted: list[Ask] = field(default_factory=list)

    def answer(self, asks: Sequence[Ask]) -> list[Call | None]:
        found: list[Call | None] = []
        for wave in self.backend.waves(numbered(asks)[: self._left()]):
            for unit in wave:
                known = self.stored(unit).is_file()
                calls = self._read(unit) if known else [None] * len(unit)
                self.wanted += [] if known else unit
                self.calls += [call for call in calls if call]
                found += calls
        return found + [None] * (len(asks) - len(found))

    def _left(self) -> int | None:
        """How many requests the budget still allows."""
        limit = self.budget.max_calls
        return None if limit is None else max(0, limit - len(self.calls) - len(self.wanted))

    def figures(self) -> dict[str, Any]:
        """Of one method: requests now and at most later, tokens and cost at most; later ones are taken to be as long.

        Tokens and cost go no further than the budget; requests do, since answers may be shorter than they can be.
        """
        prompt = sum(about(message.content) for ask in self.wanted for message in ask.messages)
        new = sum(ask.sampling.max_new_tokens for ask in self.wanted)
        later = sum(ask.follow_ups for ask in self.wanted)
        later = later if self.budget.max_calls is None else min(later, self._left() or 0)
        growth = 1 + later / len(self.wanted) if self.wanted else 1
        share, limit = min([(1.0, ""), *self._covered(prompt * growth, new * growth)])
        prompt, new = round(prompt * growth * share), round(new * growth * share)
        return {
            "answered already": len(self.calls),
            "to ask now": len(self.wanted),
            "to ask later, at most": later,
            "prompt tokens, about": prompt,
            "new tokens, at most": new,
            "USD, at most": round(self.backend.usd(prompt, new), 4),
            "tokens and USD end with": limit,
        }

    def _covered(self, prompt: float, new: float) -> list[tuple[float, str]]:
        """Of each limit on tokens or money the share of what is still to be asked that it leaves room for, and its name."""
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

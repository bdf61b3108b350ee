"""Teachers answer requests; each answer is stored as soon as it arrives and never requested twice.

A backend (a model on this machine, a server, a recording) defines its identity, its units and its waves. Each unit is stored
outside the outputs, under the hash of everything that decides its answers. A kill, another filter or a smaller budget
therefore loses no answer. Answers keep the order of the requests, whatever order they arrived in.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from jinja2 import FileSystemLoader
from jinja2.sandbox import SandboxedEnvironment
from pydantic import BaseModel, ConfigDict, TypeAdapter
from rich.progress import track

from stages import locks
from stages.errors import DataError
from stages.figures.cost import TeacherCost
from stages.files import write_text
from stages.params import Budget, Sampling
from stages.records import MOST_TOKENS, Call, Message, content_hash
from stages.teachers import answers
from stages.text.words import CJK

REFUSALS_AT_FIRST = 16  # refusals allowed before the first answer
CHARACTERS_A_TOKEN = 4  # the usual estimate for English; a Chinese character is about one token


def template(path: Path) -> Any:
    """Return the Jinja template of a prompt. It is sandboxed, since texts of models and of data are filled in."""
    return SandboxedEnvironment(loader=FileSystemLoader(path.parent), trim_blocks=True).get_template(path.name)


def about(text: str) -> int:
    """Estimate the tokens of a text."""
    characters = len(re.findall(f"[{CJK}]", text))
    return characters + (len(text) - characters) // CHARACTERS_A_TOKEN


def counted(count: Any, estimate: int) -> int:
    """Return a server's count of tokens, or the estimate if it is missing, 0 for a text or no such number."""
    return count if type(count) is int and (0 < count < MOST_TOKENS or count == estimate == 0) else estimate


@dataclass(frozen=True)
class Ask:
    """One request; `follow_ups` is the most requests that its answer may lead to, which only a plan needs."""

    messages: tuple[Message, ...]
    sampling: Sampling
    sample: int = 0
    follow_ups: int = 0

    @property
    def estimate(self) -> int:
        """Estimate the tokens of the prompt."""
        return sum(about(message.content) for message in self.messages)

    @property
    def request(self) -> dict[str, Any]:
        """Return what is sent; equal requests differ by the number of their sample."""
        messages = [message.model_dump() for message in self.messages]
        return {"messages": messages, "sampling": self.sampling.model_dump(), "sample": self.sample}


Unit = Sequence[Ask]


class Reply(BaseModel):
    """The stored answer to one request; `seconds` last from sending to the answer, retries included.

    `text` may begin with thoughts; `thoughts` are those that a server sends in a field of their own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    stopped: bool
    prompt_tokens: int
    new_tokens: int
    thoughts: str = ""
    finish_reason: str = ""
    retries: int = 0
    seconds: float = 0.0


REPLIES = TypeAdapter(list[Reply])


@dataclass(frozen=True)
class Refused:
    """Why a request will never be answered."""

    reason: str


Keep = Callable[[int, list[Reply] | Refused], None]  # takes the number of a unit and its outcome


def numbered(asks: Sequence[Ask]) -> list[Ask]:
    """Number equal requests whose answers are drawn; equal greedy requests stay equal and are sent once."""
    before: Counter[str] = Counter()
    found = []
    for ask in asks:
        key = content_hash(ask.request)
        found.append(replace(ask, sample=ask.sample + before[key]) if ask.sampling.temperature else ask)
        before[key] += 1
    return found


class Backend(Protocol):
    """`identity` and `code` are what decides an answer besides the request; `usd` prices tokens in and out.

    Answers that are computed here are those of this `code`; a server has none. It does not decide the seed, so that an edit
    which changes no answer redraws none.
    """

    identity: dict[str, Any]
    code: Sequence[str]

    def waves(self, asks: Sequence[Ask]) -> Iterator[list[Unit]]: ...

    def ask(self, units: Sequence[Unit], seeds: Sequence[int], keep: Keep) -> None: ...

    def usd(self, prompt_tokens: int, new_tokens: int) -> float: ...


@dataclass
class Teacher:
    """`calls` are all answered requests; `asked` counts those not read from the store; `spent` names a budget that ran out.

    `retries` and `seconds` sum over all calls, stored ones included, also where requests ran at the same time.
    A refused request counts as an empty, unfinished answer, which methods and filters reject. Refusals are not stored, so
    the next run asks again. If most requests are refused, the cause is not a single request, and the run ends.
    """

    backend: Backend
    budget: Budget
    seed: int
    calls: list[Call] = field(default_factory=list)
    asked: int = 0
    retries: int = 0
    seconds: float = 0.0
    spent: str = ""
    refused: dict[Path, Refused] = field(default_factory=dict)

    def answer(self, asks: Sequence[Ask]) -> list[Call | None]:
        """Return one call per request, in order; None for those that the budget no longer covers."""
        asks, found = numbered(asks), list[Call | None]()
        allowed = len(asks) if self.budget.max_calls is None else max(0, self.budget.max_calls - len(self.calls))
        if allowed < len(asks):
            self.spent = f"synthesis.budget.max_calls = {self.budget.max_calls}"
        for wave in track(list(self.backend.waves(asks[:allowed])), "teacher"):
            if not self._affordable():
                break
            calls = [call for unit in self._stored(wave) for call in unit]
            found += calls
            self.calls += calls
            self._require_answers(REFUSALS_AT_FIRST)
        self._require_answers(0)
        return found + [None] * (len(asks) - len(found))

    def cost(self) -> TeacherCost:
        prompt, new = self._tokens()
        return TeacherCost(
            calls=len(self.calls),
            asked=self.asked,
            retries=self.retries,
            refused=len(self.refused),
            teacher_seconds=round(self.seconds, 1),
            prompt_tokens=prompt,
            new_tokens=new,
            usd=round(self.backend.usd(prompt, new), 6),
        )

    def stored(self, unit: Unit) -> Path:
        """Return the path at which the answers to a unit are stored."""
        asked = self._asked(unit)
        name = content_hash([asked, *self.backend.code]) if self.backend.code else asked
        return Path(os.environ.get("DVC_ROOT", ".")) / ".tunetrail" / "responses" / f"{name}.json"

    def _asked(self, unit: Unit) -> str:
        """Return the hash of a unit and of who is asked."""
        return content_hash({"teacher": self.backend.identity, "seed": self.seed, "asks": [ask.request for ask in unit]})

    def _stored(self, wave: Sequence[Unit]) -> list[list[Call]]:
        """Return the answers to a wave; whoever asks the same wave at the same time waits for them and pays nothing."""
        if not all(self.stored(unit).is_file() for unit in wave):
            with locks.exclusive(self.stored(wave[0]), wait=True):
                self._ask(wave)
        return [self._read(unit) for unit in wave]

    def _ask(self, wave: Sequence[Unit]) -> None:
        missing = list({self.stored(unit): unit for unit in wave if not self.stored(unit).is_file()}.values())

        def keep(number: int, replies: list[Reply] | Refused) -> None:
            path = self.stored(missing[number])
            if isinstance(replies, Refused):
                self.refused[path] = replies
            elif not path.is_file():  # another run may share some of the requests; the first answer counts for both
                write_text(path, REPLIES.dump_json(replies).decode())

        if missing:
            self.backend.ask(missing, [int(self._asked(unit)[:8], 16) for unit in missing], keep)
        self.asked += sum(map(len, missing))

    def _read(self, unit: Unit) -> list[Call]:
        path = self.stored(unit)
        if path in self.refused:
            empty: dict[str, Any] = {"text": "", "stopped": False, "prompt_tokens": 0, "new_tokens": 0}
            empty["finish_reason"] = answers.REFUSED
            return [Call(messages=ask.messages, request=content_hash(ask.request), **empty) for ask in unit]
        try:
            replies = REPLIES.validate_json(path.read_bytes())
            paired = list(zip(unit, replies, strict=True))
        except ValueError:  # not JSON, or JSON that is not a list of replies
            raise DataError(f"{path}: a damaged answer; delete this file and run again") from None
        self.retries += sum(reply.retries for reply in replies)
        self.seconds += sum(reply.seconds for reply in replies)
        return [self._call(ask, reply) for ask, reply in paired]

    def _call(self, ask: Ask, reply: Reply) -> Call:
        thoughts, text = answers.separated(reply.text)
        return Call(
            messages=ask.messages,
            request=content_hash(ask.request),
            text=text,
            stopped=reply.stopped,
            prompt_tokens=counted(reply.prompt_tokens, ask.estimate),
            new_tokens=counted(reply.new_tokens, about(reply.thoughts + reply.text)),
            thoughts=answers.joined(reply.thoughts, thoughts),
            finish_reason=reply.finish_reason,
        )

    def _require_answers(self, at_first: int) -> None:
        answered = len(self.calls) - len(self.refused)
        if self.refused and len(self.refused) > max(at_first, answered):
            first = next(iter(self.refused.values()))
            raise DataError(
                f"teacher: {len(self.refused)} requests were refused and {answered} answered ({first.reason}); "
                "every answer that arrived is kept: run again"
            )

    def _tokens(self) -> tuple[int, int]:
        return sum(call.prompt_tokens for call in self.calls), sum(call.new_tokens for call in self.calls)

    def _affordable(self) -> bool:
        """Return whether budgets allow another wave; stored answers count, so that a budget gives equal data in every run."""
        prompt, new = self._tokens()
        limits = {"max_tokens": prompt + new, "max_usd": self.backend.usd(prompt, new)}
        for name, used in limits.items():
            if (limit := getattr(self.budget, name)) is not None and used >= limit:
                self.spent = f"synthesis.budget.{name} = {limit}"
        return not self.spent or self.spent.startswith("synthesis.budget.max_calls")

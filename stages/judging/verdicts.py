"""Ask a teacher which of two answers is better, in both orders, and read its verdicts (Zheng et al. 2023, arXiv:2306.05685).

Judges prefer the answer that they see first, and the longer one. Therefore a win counts only if both orders agree on it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.params import Sampling
from stages.records import Call, Example, Message, content_hash
from stages.teachers.teacher import Ask, template

PAGE = Path(__file__).with_name("pair.jinja")
# "Verdict: A", "Final verdict: **Answer A** (better)".
# Signs before and after stay within their line, and no two parts match the same signs: otherwise long answers take minutes.
VERDICT = re.compile(
    r"^[^\w\n]*(?:final )?verdict\W*(?:answer )?(A|B|tie)(?:[^\w\n]*|[^\w\n(]*\(.*\)[^\w\n)]*)$", re.IGNORECASE | re.MULTILINE
)


def greedy(max_new_tokens: int) -> Sampling:
    return Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_new_tokens=max_new_tokens)


def asked(page: Path, example: Example, answers: Sequence[str], sampling: Sampling, with_reference: bool = True) -> Ask:
    """Return the request to judge the answers to an example; without the reference, the judge decides by itself."""
    request = "\n\n".join(message.content for message in example.prompt)
    reference = example.reference if with_reference else None
    # The tags around the texts carry a hash of all of them, so that no text can hold a tag that closes its own.
    mark = content_hash([request, reference, *answers])[:16]
    content = template(page).render(request=request, reference=reference, answers=answers, mark=mark)
    return Ask(messages=(Message(role="user", content=content),), sampling=sampling)


def both_orders(
    examples: Sequence[Example], answers: Sequence[tuple[str, str]], sampling: Sampling, with_reference: bool = True
) -> list[Ask]:
    """Return two requests for each pair of answers: as it is, and with the second answer shown first."""
    return [
        asked(PAGE, example, shown, sampling, with_reference)
        for example, (first, second) in zip(examples, answers, strict=True)
        for shown in ((first, second), (second, first))
    ]


def verdict(call: Call | None) -> int | None:
    """Return 1 for the answer shown first, -1 for the other one, 0 for a tie, None for an unusable verdict."""
    verdicts = VERDICT.findall(call.text) if call else []
    return {"a": 1, "b": -1, "tie": 0}[verdicts[-1].lower()] if verdicts else None


@dataclass(frozen=True)
class Verdicts:
    """The two verdicts on each pair by its number, 1 if its first answer is better; pairs with an unusable one are left out."""

    usable: Mapping[int, tuple[int, int]]

    @property
    def agreed(self) -> dict[int, int]:
        return {number: there for number, (there, back) in self.usable.items() if there == back}

    @property
    def wins(self) -> dict[int, bool]:
        """Return for each pair with a winner whether its first answer won."""
        return {number: side > 0 for number, side in self.agreed.items() if side}

    @property
    def for_first_shown(self) -> list[bool]:
        """Return for each verdict, ties left out, whether it is for the answer shown first."""
        return [side > 0 for there, back in self.usable.values() for side in (there, -back) if side]


def read(calls: Sequence[Call | None]) -> Verdicts:
    """Return the verdicts of the answers to the requests of `both_orders`."""
    found = [verdict(call) for call in calls]
    pairs = enumerate(zip(found[::2], found[1::2], strict=True))
    return Verdicts({number: (there, -back) for number, (there, back) in pairs if there is not None and back is not None})

"""Compose complaint texts from bodies, layouts and people, for the authored rows of fetch and those of synthesize.

A layout is a text with {name}, {address}, {email}, {other_email} in optional segments `[[...]]` and {question} outside them.
A segment whose value is missing vanishes, or the text after `||` replaces it. A line that becomes blank is removed.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from stages.records import Document, Task

FIELDS = ("name", "address", "email", "question")
SEGMENT = re.compile(r"\[\[(.*?)(?:\|\|(.*?))?\]\]")
PLACEHOLDER = re.compile(r"\{(name|address|email|other_email|question)\}")


@dataclass(frozen=True)
class Person:
    name: str
    address: str
    email: str


@dataclass(frozen=True)
class Mix:
    """Shares of hard rows, each drawn independently of the others."""

    missing: float
    second_email: float
    noise: float

    def times(self, factor: float) -> "Mix":
        return Mix(factor * self.missing, factor * self.second_email, factor * self.noise)


def people(count: int, locale: str, seed: int) -> list[Person]:
    """Return synthetic people of a Faker locale; addresses are one line."""
    from faker import Faker

    faker = Faker(locale)
    faker.seed_instance(seed)
    return [Person(faker.name(), faker.address().replace("\n", ", "), faker.unique.email()) for _ in range(count)]


def compose(
    bodies: Sequence[Document],
    layouts: Sequence[Document],
    count: int,
    locale: str,
    mix: Mix,
    system: str,
    indent: int | None,
    seed: int,
) -> list[Task]:
    """Return `count` extraction tasks; each body and layout is used equally often, hard features have exact shares.

    The answer's JSON is indented by `indent` spaces, one field per line; None writes it on one line.
    Each task's `source` is its layout, its `parents` are body and layout, its `slices` the hard features or "clean".
    """
    rng = random.Random(seed)
    crowd = people(2 * count, locale, seed)
    missing, second, noisy = (_exact_share(share, count, rng) for share in (mix.missing, mix.second_email, mix.noise))
    tasks = []
    for i, (body, layout) in enumerate(zip(_deal(bodies, count, rng), _deal(layouts, count, rng), strict=True)):
        person, other = crowd[i], crowd[count + i]
        values: dict[str, str | None] = {
            "name": person.name,
            "address": person.address,
            "email": person.email,
            "question": body.text,
            "other_email": other.email if second[i] else None,
        }
        if missing[i]:
            values[rng.choice(FIELDS[:3])] = None
        text = fill(layout.text, values)
        if noisy[i]:
            text = add_noise(text, rng)
        features = [name for name, on in (("missing", missing[i]), ("second_email", second[i]), ("noise", noisy[i])) if on]
        tasks.append(
            Task(
                kind="extraction",
                system=system,
                input=text,
                output=json.dumps({key: values[key] for key in FIELDS}, ensure_ascii=False, indent=indent),
                source=layout.source,
                slices=tuple(features or ["clean"]),
                parents=(body.id, layout.id),
            )
        )
    return tasks


def fill(layout: str, values: dict[str, str | None]) -> str:
    """Fill the layout; values are inserted once and never read as layout themselves."""

    def segment(match: re.Match[str]) -> str:
        needed = PLACEHOLDER.findall(match[1])
        return match[1] if all(values[key] is not None for key in needed) else (match[2] or "")

    lines = []
    for line in layout.strip("\n").split("\n"):
        head, close, rest = line.rpartition("]]")  # in the rest, each `[[` would search for its end in vain
        kept = SEGMENT.sub(segment, head + close) + rest
        if kept.strip() or not line.strip():
            lines.append(PLACEHOLDER.sub(lambda match: values[match[1]] or "", kept).rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def add_noise(text: str, rng: random.Random) -> str:
    """Double some spaces and append random keystrokes; the values to extract are those of the clean text."""
    spaced = "".join(char * rng.choice((2, 2, 3)) if char == " " and rng.random() < 0.15 else char for char in text)
    mash = "".join(rng.choice("asdfghjkl;qwertyuiop") for _ in range(rng.randint(5, 14)))
    return f"{spaced}{rng.choice((' ', chr(10)))}{mash}"


def _exact_share(share: float, count: int, rng: random.Random) -> list[bool]:
    chosen = set(rng.sample(range(count), round(share * count)))
    return [i in chosen for i in range(count)]


def _deal(items: Sequence[Document], count: int, rng: random.Random) -> list[Document]:
    """Deal items like cards: every item once, then reshuffled, so that each is used equally often."""
    dealt: list[Document] = []
    while len(dealt) < count:
        dealt += rng.sample(list(items), len(items))
    return dealt[:count]

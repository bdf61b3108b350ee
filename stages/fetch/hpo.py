"""The Human Phenotype Ontology as facts: features of diseases by frequency, plain names and broader terms of features.

Reads the two files that the HPO publishes, hp.obo (terms) and phenotype.hpoa (which disease has which feature, how often).
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stages.errors import DataError
from stages.params import HpoFacts
from stages.records import Fact

# Lowest share of patients and HPO's term for each class of frequency; 0 % means "excluded": known to be absent.
CLASSES = (
    (1.0, "HP:0040280", "obligate feature"),
    (0.8, "HP:0040281", "very frequent feature"),
    (0.3, "HP:0040282", "frequent feature"),
    (0.05, "HP:0040283", "occasional feature"),
    (0.0, "HP:0040284", "very rare feature"),
)
EXCLUDED = "HP:0040285"
PLAIN_NAME = re.compile(r'"(.+)" EXACT layperson ')
SYNONYM = re.compile(r'"(.+)" EXACT ')
WORD = re.compile(r"[A-Za-z]{3,}")


@dataclass(frozen=True)
class Term:
    id: str
    name: str
    plain: tuple[str, ...]
    synonyms: tuple[str, ...]
    parents: tuple[str, ...]


def read(ontology: str, annotations: Iterable[str], options: HpoFacts, seed: int) -> tuple[list[Fact], dict[str, set[str]]]:
    """Return facts about randomly chosen diseases and features, and the names that are or may be true of each subject.

    A disease needs enough features that many diseases share. A term may be true of a disease if the annotations state it, or
    if it lies above or below a stated term.
    """
    rng = random.Random(seed)
    terms = _terms(ontology)
    stated = _annotations(annotations)
    used = Counter(term for features in stated.values() for term in features)
    excluded = re.compile(options.exclude)

    def is_telling(disease: str, term: str) -> bool:
        """Return whether the term is worth asking about; rare features, headings and parts of the name give the answer away."""
        if term not in terms or used[term] < options.common or excluded.search(terms[term].name):
            return False
        return not _share_words(disease, terms[term].name)

    usable = {
        disease: [term for term in sorted(found) if found[term][0] in options.relations and is_telling(disease, term)]
        for disease, found in sorted(stated.items())
        if len(disease) <= options.max_name and next(iter(found.values()))[1].startswith(options.database)
    }
    enough = [disease for disease, found in usable.items() if len(found) >= options.features]
    chosen = rng.sample(enough, min(options.diseases, len(enough)))
    facts = [
        Fact(subject=disease, relation=stated[disease][term][0], object=terms[term].name, source=stated[disease][term][1])
        for disease in chosen
        for term in rng.sample(usable[disease], options.features)
    ]
    named = {term.name: term for term in terms.values()}
    about = {name: _of_term(named[name], terms, options, excluded) for name in sorted({fact.object for fact in facts})}
    described = [name for name, found in about.items() if found]
    described = rng.sample(described, min(options.terms, len(described)))
    facts += [fact for name in described for fact in about[name]]
    subjects = {disease: list(stated[disease]) for disease in chosen} | {name: [named[name].id] for name in described}
    family = _families(terms)
    related = {
        subject: {name for id in ids for near in family.get(id, ()) for name in (terms[near].name, *terms[near].synonyms)}
        for subject, ids in subjects.items()
    }
    return facts, related


def _terms(ontology: str) -> dict[str, Term]:
    """Return the terms that are not obsolete, by id; names start in lower case unless definitions capitalise the word."""
    definitions = " ".join(re.findall(r'^def: "(.*)"', ontology, re.MULTILINE))
    proper = set(re.findall(r"(?<=[a-z] )[A-Z][a-z]+", definitions)) - set(
        map(str.capitalize, re.findall(r"[a-z]+", definitions))
    )

    def lowered(name: str) -> str:
        first = re.match(r"[A-Z][a-z]*", name)
        small = first and first[0] not in proper and not name[first.end() :][:1].isupper()
        return name[0].lower() + name[1:] if small else name

    terms = {}
    for block in ontology.split("\n\n"):
        if not block.startswith("[Term]"):
            continue
        fields: dict[str, list[str]] = defaultdict(list)
        for line in block.splitlines()[1:]:
            key, _, value = line.partition(": ")
            fields[key].append(value)
        if "is_obsolete" not in fields:
            id, synonyms = fields["id"][0], fields["synonym"]
            terms[id] = Term(
                id=id,
                name=lowered(fields["name"][0]),
                plain=tuple(lowered(m[1]) for text in synonyms if (m := PLAIN_NAME.match(text))),
                synonyms=tuple(lowered(m[1]) for text in synonyms if (m := SYNONYM.match(text))),
                parents=tuple(value.split(" ! ")[0] for value in fields["is_a"]),
            )
    return terms


def _annotations(lines: Iterable[str]) -> dict[str, dict[str, tuple[str, str]]]:
    """Return the features of each disease with relation and source, without those known to be absent (NOT, 0 %)."""
    rows = (line.rstrip("\n").split("\t") for line in lines if not line.startswith("#"))
    header = next(rows, [])
    stated: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    absent: set[tuple[str, str]] = set()
    for cells in rows:
        row = dict(zip(header, cells, strict=True))
        disease, term, relation = row["disease_name"], row["hpo_id"], _relation(row["frequency"])
        if row["aspect"] != "P":
            continue
        if row["qualifier"] == "NOT" or relation is None:
            absent.add((disease, term))
        else:
            stated[disease].setdefault(term, (relation, " ".join(dict.fromkeys((row["database_id"], row["reference"])))))
    for disease, term in absent:  # where sources contradict each other, neither is kept
        stated[disease].pop(term, None)
    return {disease: found for disease, found in stated.items() if found}


def _relation(frequency: str) -> str | None:
    """Return the class of a frequency (an HPO term, 3/4 or 75%); "feature" if none is stated, None for 0 %."""
    if not frequency:
        return "feature"
    for _, term, relation in CLASSES:
        if frequency == term:
            return relation
    if frequency == EXCLUDED:
        return None
    if match := re.fullmatch(r"(\d+)/(\d+)", frequency):
        share = int(match[1]) / max(int(match[2]), 1)
    elif match := re.fullmatch(r"([\d.]+)%", frequency):
        share = float(match[1]) / 100
    else:
        raise DataError(f"phenotype.hpoa: frequency {frequency!r} is neither a term, nor like 3/4, nor like 75%")
    return next(relation for lowest, _, relation in CLASSES if share >= lowest) if share else None


def _of_term(term: Term, terms: Mapping[str, Term], options: HpoFacts, excluded: re.Pattern[str]) -> list[Fact]:
    """Return the first plain name that shares no word with the term, and the first parent that is not a heading."""
    plain = [name for name in term.plain if not _share_words(term.name, name)]
    broader = [terms[parent].name for parent in term.parents if not excluded.search(terms[parent].name)]
    found = {"plain name": plain[:1], "broader term": broader[:1]}
    return [
        Fact(subject=term.name, relation=relation, object=name, source=term.id)
        for relation, names in found.items()
        if relation in options.relations
        for name in names
    ]


def _share_words(one: str, other: str) -> bool:
    return not set(WORD.findall(one.lower())).isdisjoint(WORD.findall(other.lower()))


def _families(terms: Mapping[str, Term]) -> dict[str, set[str]]:
    """Return, for each term, the ids of itself, its ancestors and its descendants."""

    def above(id: str) -> set[str]:
        found, level = {id}, {id}
        while level:  # each term once, although several paths or a cycle may lead to it
            level = {parent for child in level for parent in terms[child].parents} - found
            found |= level
        return found

    ancestors = {id: above(id) for id in terms}
    families = {id: set(found) for id, found in ancestors.items()}
    for id, found in ancestors.items():
        for ancestor in found:
            families[ancestor].add(id)
    return families

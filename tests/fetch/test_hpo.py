"""The Human Phenotype Ontology as facts: frequencies, absent features, names."""

from typing import Any

import pytest

from stages.errors import DataError
from stages.fetch import hpo
from stages.params import HpoFacts
from stages.records import Fact

PINNED = {"file": "f", "sha256": "0" * 64}


ONTOLOGY = """format-version: 1.2

[Term]
id: HP:1
name: Sign

[Term]
id: HP:2
name: Seizure
def: "A seizure is an event; also fits, or an epileptic seizure." []
synonym: "Fits" EXACT layperson []
synonym: "Epileptic seizure" EXACT []
is_a: HP:1 ! Sign

[Term]
id: HP:3
name: Focal seizure
def: "Of a focal kind." []
is_a: HP:2 ! Seizure

[Term]
id: HP:4
name: Babinski sign
def: "Also called Babinski reflex; a positive Babinski sign is seen in many." []
is_a: HP:1 ! Sign

[Term]
id: HP:5
name: Old seizure
is_obsolete: true
"""


HEADER = "database_id disease_name qualifier hpo_id reference evidence onset frequency sex modifier aspect biocuration"


def annotation(term: str, frequency: str = "", qualifier: str = "", aspect: str = "P", disease: str = "Alpha") -> str:
    return "\t".join(["ORPHA:1", disease, qualifier, term, "PMID:7", "PCS", "", frequency, "", "", aspect, ""])


def from_hpo(*annotations: str, **changes: Any) -> tuple[list[Fact], dict[str, set[str]]]:
    values: dict[str, Any] = {
        **{"source": "hpo", "package": "p==1", "ontology": PINNED, "annotations": PINNED, "database": "ORPHA"},
        "relations": ["feature", *(name for _, _, name in hpo.CLASSES), "plain name", "broader term"],
        **{"exclude": "^sign", "common": 1, "max_name": 40, "diseases": 9, "features": 1, "terms": 0},
    }
    lines = ["#version: x", HEADER.replace(" ", "\t"), *annotations]
    return hpo.read(ONTOLOGY, lines, HpoFacts.model_validate(values | changes), 1)


def test_absent_features_are_not_facts() -> None:
    assert from_hpo(annotation("HP:2", qualifier="NOT"), annotation("HP:4", "0/5"), annotation("HP:3", "HP:0040285"))[0] == []
    assert from_hpo(annotation("HP:2"), annotation("HP:2", qualifier="NOT"))[0] == [], "sources contradict each other"
    assert from_hpo(annotation("HP:2", aspect="I"))[0] == []


@pytest.mark.parametrize(
    ("frequency", "relation"),
    [
        ("", "feature"),
        ("HP:0040280", "obligate feature"),
        ("5/5", "obligate feature"),
        ("4/5", "very frequent feature"),
        ("79%", "frequent feature"),
        ("HP:0040283", "occasional feature"),
        ("1/100", "very rare feature"),
    ],
)
def test_a_frequency_is_read_as_its_class(frequency: str, relation: str) -> None:
    (fact,) = from_hpo(annotation("HP:2", frequency))[0]
    assert (fact.subject, fact.relation, fact.object, fact.source) == ("Alpha", relation, "seizure", "ORPHA:1 PMID:7")


def test_a_frequency_in_an_unknown_form_is_refused() -> None:
    with pytest.raises(DataError, match="often"):
        from_hpo(annotation("HP:2", "often"))


def test_related_features_may_be_true_too() -> None:
    related = from_hpo(annotation("HP:2"))[1]["Alpha"]
    assert {"seizure", "epileptic seizure", "fits", "focal seizure", "sign"} <= related
    assert "Babinski sign" not in related


def ontology(**parents: list[str]) -> str:
    lines = ([f"id: {id}", f"name: {id}", *(f"is_a: {parent}" for parent in found)] for id, found in parents.items())
    return "\n\n".join("\n".join(["[Term]", *found]) for found in lines)


@pytest.mark.parametrize(
    ("parents", "families"),
    [
        ({"a": ["b"], "b": ["a"], "c": []}, {"a": "ab", "b": "ab", "c": "c"}),
        ({"a": ["a"], "b": ["a"]}, {"a": "ab", "b": "ab"}),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, {"a": "abcd", "b": "abd", "c": "acd", "d": "abcd"}),
    ],
    ids=["cycle", "itself", "diamond"],
)
def test_each_ancestor_is_visited_once(parents: dict[str, list[str]], families: dict[str, str]) -> None:
    found = hpo._families(hpo._terms(ontology(**parents)))
    assert found == {id: set(family) for id, family in families.items()}


def test_many_diamonds_and_a_long_chain_are_read() -> None:
    diamonds = {f"t{n}": [f"a{n + 1}", f"b{n + 1}"] for n in range(60)} | {"t60": []}
    diamonds |= {f"{side}{n}": [f"t{n}"] for side in "ab" for n in range(1, 61)}
    assert len(hpo._families(hpo._terms(ontology(**diamonds)))["t0"]) == 181
    chain = {f"c{n}": [f"c{n + 1}"] for n in range(1500)} | {"c1500": []}
    assert len(hpo._families(hpo._terms(ontology(**chain)))["c0"]) == 1501


def test_features_have_plain_names_and_broader_terms() -> None:
    facts, _ = from_hpo(annotation("HP:3"), annotation("HP:4", disease="Beta"), annotation("HP:2", disease="Gamma"), terms=9)
    triples = {(fact.subject, fact.relation, fact.object) for fact in facts}
    assert triples == {
        ("Alpha", "feature", "focal seizure"),
        ("Beta", "feature", "Babinski sign"),
        ("Gamma", "feature", "seizure"),
        ("focal seizure", "broader term", "seizure"),
        ("seizure", "plain name", "fits"),
    }

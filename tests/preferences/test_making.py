"""Sources joined: no pair twice, prompts held out by their hash, and why nothing is left."""

from collections import Counter

import pytest

from stages.preferences import making, verifier
from stages.preferences.made import Made
from stages.preferences.records import Pair, Vote
from stages.records import Message
from tests.preferences.conftest import complaint, row, samples


def pair(prompt: str, chosen: str = "a", rejected: str = "b", source: str = "file") -> Pair:
    asked = (Message(role="user", content=prompt),)
    fields = {"chosen": chosen, "rejected": rejected, "source": source, "chosen_from": "file", "rejected_from": "file"}
    return Pair.model_validate({"prompt": asked, **fields})


def vote(text: str, good: bool = True) -> Vote:
    return Vote(prompt=(Message(role="user", content="x"),), text=text, good=good, source="people")


def test_equal_pair_of_two_sources_is_kept_once() -> None:
    joint = making.joined({"judge": Made(pairs=[pair("x"), pair("y")]), "file": Made(pairs=[pair("x")])}, 0.0)
    assert [len(made.pairs) for made in joint.values()] == [2, 0]
    assert joint["file"].dropped == {"pair again": 1}


def test_contradicting_pairs_are_dropped_in_both_orders() -> None:
    rows = [pair("x", "b", "a"), pair("y"), pair("y", "b", "a"), pair("z"), pair("y", "c", "a")]
    joint = making.joined({"judge": Made(pairs=[pair("x")]), "file": Made(candidates=5, pairs=rows, votes=[vote("a")])}, 0.0)
    assert [(p.prompt[0].content, p.chosen) for p in making.pairs(joint)] == [("z", "a"), ("y", "c")]
    assert [made.dropped for made in joint.values()] == [{"contradicting": 1}, {"contradicting": 3}]
    assert [v.text for v in making.votes(joint)] == ["a"]  # no pair of its prompt is left
    nothing = making.joined({"judge": Made(pairs=[pair("x")]), "file": Made(pairs=rows[:1])}, 0.0)
    assert "2 times: contradicting; leave a source out of preference.sources" in making.nothing_left(nothing)


def test_vote_on_a_text_of_a_pair_is_left_out() -> None:
    joint = making.joined({"people": Made(votes=[vote("a"), vote("c"), vote("c")]), "file": Made(pairs=[pair("x")])}, 0.0)
    assert [v.text for v in making.votes(joint)] == ["c"]
    assert joint["people"].dropped == {"vote on an answer of a pair": 1, "vote again": 1}


@pytest.mark.parametrize("order", [("people", "verifier"), ("verifier", "people")])
def test_contradicting_votes_are_dropped_and_counted(order: tuple[str, str]) -> None:
    votes = {"people": [vote("a"), vote("b"), vote("c")], "verifier": [vote("a", good=False), vote("b")]}
    joint = making.joined({name: Made(candidates=3, votes=votes[name]) for name in order}, 0.0)
    assert sorted(v.text for v in making.votes(joint)) == ["b", "c"]
    counted = making.funnel([], {}, joint, ([], [])).sources
    assert [counted[name].dropped for name in order] == [{"contradicting": 1}, {"contradicting": 1, "vote again": 1}]


def test_hash_of_the_prompt_holds_it_out_for_all_sources() -> None:
    pairs = [pair(f"question {n}") for n in range(400)]
    more = [pair(f"question {n}", "c", source="judge") for n in range(400)]
    joint = making.joined({"file": Made(pairs=pairs), "judge": Made(pairs=more)}, 0.25)
    apart = [[p.held_out for p in made.pairs] for made in joint.values()]
    assert apart[0] == apart[1]
    assert 70 <= sum(apart[0]) <= 130


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Made(candidates=3, dropped=Counter({"equal scores": 2, "tie": 1})), "no pair is left of 3 candidates; 2 times: "
         "equal scores; raise preference.samples or preference.sampling.temperature, or set preference.reference"),
        (Made(candidates=2, votes=[vote("a"), vote("c")]), "2 times: only single votes; raise preference.samples"),
        (Made(), "no pair is left of 0 candidates; add prompts, samples or another source in preference.sources"),
    ],
)  # fmt: skip
def test_nothing_left_is_explained_by_its_first_reason(made: Made, message: str) -> None:
    assert message in making.nothing_left({"verifier": made})


def test_something_left_is_a_pair_or_votes_of_both_kinds() -> None:
    assert making.nothing_left({"file": Made(pairs=[pair("x")])}) == ""
    assert making.nothing_left({"people": Made(votes=[vote("a"), vote("b", good=False)])}) == ""
    held = making.joined({"file": Made(candidates=1, pairs=[pair("x")])}, 0.999999)
    assert "1 times: held out; lower preference.held_out" in making.nothing_left(held)


def test_funnel_counts_samples_and_sources() -> None:
    rows = [row(1), row(2), row(3)]
    answers = [*samples(rows[0], complaint(4), complaint(1)), *samples(rows[1], complaint(0), complaint(0))]
    answers += samples(rows[2], complaint(3), complaint(3))
    joint = making.joined({"verifier": verifier.made(rows, answers, 0.1, 0.5)}, 0.0)
    found = making.funnel(answers, {"replayed": 2}, joint, ([4, 6], [3, 3]))
    assert (found.prompts, found.samples, found.mixed, found.right) == (3, 6, 0.333333, 0.166667)
    source = found.sources["verifier"]
    assert (source.candidates, source.kept, source.from_reference) == (3, 2, 1)
    assert sum(source.dropped.values()) + source.votes == 1
    assert (found.chosen_tokens, found.rejected_tokens) == (5.0, 3.0)
    assert making.summary(found).startswith("2 pairs (verifier 2 of 3 (1 from the reference)), 0 held out")

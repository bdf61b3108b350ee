"""The vote of several models: per field, per option, or the answer that resembles the others most."""

import json
from math import exp, log
from pathlib import Path

import pytest

from stages import lineage, params, records
from stages.evaluate import __main__ as stage
from stages.evaluate.vote import vote
from stages.params import compose
from stages.records import Example, Message, Prediction, Score


def example(kind: str, reference: str, choices: tuple[str, ...] = ()) -> Example:
    messages = (Message(role="user", content="q"), Message(role="assistant", content=reference))
    return Example(kind=kind, messages=messages, source="s", choices=choices)


def answers(*texts: str, **fields: list) -> list[Prediction]:
    return [
        Prediction(
            example="ex", system=f"tuned_{i}", text=text, prompt_tokens=7, new_tokens=i + 1,
            **{"stopped": True} | {name: values[i] for name, values in fields.items()},
        )
        for i, text in enumerate(texts)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "right"),
    [
        (['{"a": 1, "b": "x"}', '{"a": 2, "b": "y"}', '{"a": 2, "b": "x"}'], {"a": 2, "b": "x"}),  # no model's own answer
        (['{"a": 1}', '{"a": 2}', '{"a": 3}'], {"a": 1}),
        (['{"a": null}', '{"a": 2}', '{"a": null}'], {"a": None}),
        (['{"a": 1, "b": 1}', '{"a": 1}', '{"a": 1}'], {"a": 1}),
        (['{"a": ["x", "y"]}', '{"a": ["z"]}', '{"a": ["y", "x"]}'], {"a": ["x", "y"]}),  # lists are sets
        (['{"a": "x"}', '{"a": ["x"]}', '{"a": ["x"]}'], {"a": ["x"]}),  # but no set is its element
        (["no object", "also none", '{"a": 3}'], {"a": 3}),
    ],
)
def test_each_field_has_the_value_of_most_objects(texts, right):
    assert json.loads(vote(example("extraction", "{}"), answers(*texts)).text) == right


def test_half_of_a_character_is_no_mistake_of_the_vote():
    halves = [r'{"a": "\ud83d"}', r'{"a": "\ud83d"}', '{"a": 1}']
    assert json.loads(vote(example("extraction", "{}"), answers(*halves)).text) == {"a": "?"}


def test_option_that_no_model_can_write_stays_impossible():
    asked = example("choice", "red", ("red", "blue"))
    given = answers("red", "red", choice_logprobs=[(-1.0, float("-inf"))] * 2, choice_tokens=[(1, 1)] * 2)
    assert vote(asked, given).choice_logprobs == (-1.0, float("-inf"))


def test_without_an_object_the_first_answer_stays():
    given = vote(example("extraction", "{}"), answers("I think", "so", stopped=[False, True]))
    assert (given.text, given.stopped) == ("I think", False)


def test_most_named_option_wins_and_likelihood_breaks_ties():
    asked = example("choice", "red", ("red", "blue", "green"))
    assert vote(asked, answers("green", "blue", "green")).text == "green"
    assert vote(asked, answers("hm", "what", "blue")).text == "blue"
    assert vote(asked, answers("hm", "what", "who")).text == "hm"
    assert vote(asked, answers("green", "blue", "hm")).text == "green"  # first seed
    logprobs = [(-3.0, -1.0, -2.0), (-3.0, -1.0, -2.0), (-3.0, -2.0, -1.5)]
    tied = answers("green", "blue", "hm", choice_logprobs=logprobs, choice_tokens=[(1, 1, 1)] * 3)
    mixed = vote(asked, tied)
    assert mixed.text == "blue"
    assert mixed.choice_logprobs[1] == pytest.approx(log((2 * exp(-1) + exp(-2)) / 3), abs=1e-4)


def test_text_is_the_one_that_resembles_the_others_most():
    given = vote(example("text", "r"), answers("nine in the morning", "I do not know", "at nine in the morning", "nine"))
    assert given.text == "nine in the morning"


def test_vote_costs_what_all_answers_cost_and_names_them():
    given = answers("a", "b", "b", stopped=[False, True, True], reference_logprob=[-1.0, -2.0, -3.0], reference_tokens=[4] * 3)
    found = vote(example("text", "r"), given)
    assert (found.system, found.parents) == ("vote", tuple(answer.id for answer in given))
    assert (found.prompt_tokens, found.new_tokens, found.stopped) == (21, 6, True)
    assert exp(found.reference_logprob) == pytest.approx((exp(-1) + exp(-2) + exp(-3)) / 3, abs=1e-4)
    assert found.reference_tokens == 4
    assert vote(example("text", "r"), answers("a", "b", reference_logprob=[-1.0, None])).reference_logprob is None


@pytest.mark.parametrize(
    ("asked", "voters", "named"),
    [
        (True, ["tuned_1", "tuned_2", "tuned_3"], "seeds=[1,2,3]"),
        (False, ["tuned_1", "tuned_2", "tuned_3"], "seeds=[1,2,3]"),
        (True, ["tuned_1", "kept_june", "kept_july"], "seeds=[1]"),
    ],
)
def test_vote_is_scored_and_leads_to_its_answers(tmp_path, monkeypatch, asked, voters, named):
    monkeypatch.chdir(tmp_path)
    kept = ",".join(name.removeprefix("kept_") for name in voters if name.startswith("kept_"))
    settings = [f"evaluate.vote={str(asked).lower()}", named, "predict.shots=[0]", f"predict.kept=[{kept}]"]
    params.PARAMS.write_text(compose.text(settings), encoding="utf-8")
    asked_of = example("extraction", '{"a": 2, "b": "x"}')
    given = answers('{"a": 1, "b": "x"}', '{"a": 2, "b": "y"}', '{"a": 2, "b": "x"}')
    records.write(Path("data/formatted/test.jsonl"), [asked_of])
    for system, answer in zip((*voters, "base_0shot"), [*given, given[0]], strict=True):
        row = answer.model_dump(exclude={"id"}) | {"example": asked_of.id, "system": system, "parents": (asked_of.id,)}
        records.write(Path(f"data/predictions/{system}.jsonl"), [Prediction.model_validate(row)])
    stage.main()
    scores = {score.system: score for score in records.read(Path("data/scores.jsonl"), Score)}
    votes = list(records.read(Path("data/votes.jsonl"), Prediction))
    assert len(votes) == asked == ("vote" in scores) == ("vote" in json.loads(Path("data/totals.json").read_text()))
    if asked:
        assert scores["vote"].scores["record_exact"] == 1.0
        assert sum("pred-" in line for line in lineage.trace(scores["vote"].id)) == 4

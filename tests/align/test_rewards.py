"""The rewards of GRPO: each by name, their weights, and their columns."""

import json

import pytest

from stages.align import rewards
from stages.params import Rewards
from tests.preferences.conftest import RIGHT, complaint, row

ROW = row(1)
NONE = {"task": 0.0, "json_valid": 0.0, "length": 0.0, "reward_model": 0.0}


def read(ids):
    """Return the answer whose number is the first token; a last token of 9 ends it."""
    from stages.generation.decoding import Completion

    texts = [json.dumps(RIGHT), complaint(3), "no JSON", ""]
    return Completion(texts[ids[0]], ids[-1] == 9, len(ids))


def given(weights: dict, answers: list[list[int]], judge=None) -> dict[str, list[float]]:
    found = rewards.functions([ROW], Rewards(**(NONE | weights)), read, judge)
    columns = {"example": [ROW.id] * len(answers), "trainer_state": None}
    return {f.__name__: f(prompts=[], completions=[], completion_ids=answers, **columns) for f in found}


def test_task_is_the_score_of_the_verifier() -> None:
    assert given({"task": 1}, [[0, 9], [0], [1, 9], [2, 9]])["task"] == [1.0, 1.0, 0.749, 0.0]


def test_json_valid_needs_one_object() -> None:
    assert given({"json_valid": 1}, [[1, 9], [2, 9], [3, 9]])["json_valid"] == [1.0, 0.0, 0.0]


def test_length_is_the_ratio_of_words() -> None:
    right, short, empty = given({"length": 1}, [[0, 9], [2, 9], [3, 9]])["length"]
    assert (right, empty) == (1.0, 0.0)
    assert short == pytest.approx(2 / len(rewards.tokens(ROW.reference)))


def test_reward_model_judges_tokens_and_weights_name_rewards() -> None:
    weights = {"task": 0.5, "reward_model": 2.0}
    found = given(weights, [[0, 9], [1]], judge=lambda examples, answers: [float(len(answer)) for answer in answers])
    assert list(found) == list(rewards.wanted(Rewards(**(NONE | weights)))) == ["task", "reward_model"]
    assert found["reward_model"] == [2.0, 1.0]

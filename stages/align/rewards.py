"""The rewards of GRPO by name, as functions that TRL's trainer calls; without torch.

TRL calls each with the batch's columns and its answers as token ids, and adds up the rewards by their weights. The answers are
read here as `predict` reads them, so that a reward is the score that the same answer gets in the report.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from stages.params import Rewards
from stages.preferences import verifier
from stages.preferences.records import Sample
from stages.records import Example
from stages.text import objects
from stages.text.words import tokens

if TYPE_CHECKING:
    from stages.generation.decoding import Completion

Read = Callable[[list[int]], "Completion"]  # the tokens of an answer -> its text, and whether it ended by itself
Judge = Callable[[Sequence[Example], Sequence[list[int]]], list[float]]  # rows and the tokens of their answers -> scores
Reward = Callable[..., list[float]]


class OneAnswer(Protocol):
    __name__: str

    def __call__(self, example: Example, answer: "Completion") -> float: ...


def task(example: Example, answer: "Completion") -> float:
    """Return the verifier's score of the answer, in [0, 1], which also makes the pairs of DPO."""
    sample = Sample(
        example=example.id,
        number=0,
        text=answer.text,
        stopped=answer.stopped,
        new_tokens=answer.new_tokens,
        parents=(example.id,),
    )
    return verifier.scored([example], [sample])[0].score


def json_valid(example: Example, answer: "Completion") -> float:
    """Return 1 if the whole answer is one JSON object, else 0."""
    return float(objects.parsed(answer.text) is not None)


def length(example: Example, answer: "Completion") -> float:
    """Return how close the answer's length is to the reference's, in words a and r: min(a, r) / max(a, r), in [0, 1].

    Equal lengths give 1, half or twice as many words 0.5, and an empty answer 0 (1 where the reference is empty too).
    """
    given, right = len(tokens(answer.text)), len(tokens(example.reference))
    return min(given, right) / max(given, right) if given or right else 1.0


def wanted(weights: Rewards) -> dict[str, float]:
    """Return the weights above 0 by the name of their reward."""
    return {name: weight for name, weight in weights.model_dump().items() if weight}


def functions(examples: Sequence[Example], weights: Rewards, read: Read, judge: Judge | None = None) -> list[Reward]:
    """Return TRL's reward functions in the order of `wanted`; rows name their example in the column `example`.

    `judge` scores answers by a reward model; it must be given if that has a weight.
    """
    by_id = {example.id: example for example in examples}
    alone: Mapping[str, OneAnswer] = {"task": task, "json_valid": json_valid, "length": length}
    found = []
    for name in wanted(weights):
        if name == "reward_model":
            assert judge is not None
            found.append(_by_model(judge, by_id))
        else:
            found.append(_by_answer(alone[name], read, by_id))
    return found


def _by_answer(score: OneAnswer, read: Read, by_id: Mapping[str, Example]) -> Reward:
    def reward(prompts: list[str], completions: list[str], completion_ids: list[list[int]], **columns: Any) -> list[float]:
        return [score(by_id[id], read(ids)) for id, ids in zip(columns["example"], completion_ids, strict=True)]

    reward.__name__ = score.__name__  # TRL logs a reward under its function's name
    return reward


def _by_model(judge: Judge, by_id: Mapping[str, Example]) -> Reward:
    def reward_model(
        prompts: list[str], completions: list[str], completion_ids: list[list[int]], **columns: Any
    ) -> list[float]:
        return judge([by_id[id] for id in columns["example"]], completion_ids)

    return reward_model

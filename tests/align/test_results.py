"""The figures of an alignment: names of TRL's numbers, and the warning about pairs that were learned in vain."""

import pytest

from stages.align import results, rounds
from stages.align.run import Fitted
from stages.figures.alignment import Alignment, AlignmentLook, AlignmentRound
from stages.preferences.records import Pair
from stages.records import Message


@pytest.mark.parametrize(
    ("accuracy", "task", "warns"),
    [((0.5, 0.9), (0.6, 0.6), True), ((0.5, 0.9), (0.6, 0.7), False), ((0.5, 0.5), (0.6, 0.5), False), ((0.5,), (0.6,), False)],
)
def test_pairs_learned_in_vain_are_named(accuracy, task, warns) -> None:
    looks = [AlignmentLook(step=i, task=t, pair_accuracy=a) for i, (a, t) in enumerate(zip(accuracy, task, strict=True))]
    line = results.warning(Alignment(steps=1, looks=looks))
    assert line.startswith("warning: the accuracy of held-out pairs rose from 0.500 to 0.900, but") if warns else line == ""


def test_numbers_of_a_step_get_our_names() -> None:
    entry = {"step": 1, "loss": 0.5, "learning_rate": 1e-5, "rewards/margins": 0.25, "rewards/task/mean": 0.75, "grad_norm": 9}
    entry |= {"frac_reward_zero_std": 0.5, "completions/clipped_ratio": 0.0}
    found = results.step(entry).model_dump(exclude_none=True)
    assert found == {
        **{"step": 1, "loss": 0.5, "learning_rate": 1e-5, "margin": 0.25, "rewards": {"task": 0.75}},
        **{"no_signal": 0.5, "clipped": 0.0},
    }


def test_pairs_of_one_prompt_widen_the_interval() -> None:
    def pairs(prompts: int) -> list[Pair]:
        return [
            Pair(
                prompt=(Message(role="user", content=f"{n % prompts}?"),),
                **{"chosen": f"{n}", "rejected": "no", "source": "file", "chosen_from": "file", "rejected_from": "file"},
            )
            for n in range(8)
        ]

    right = [1.0, 0.0] * 4
    (apart_low, apart_high), (low, high) = (results.interval(right, pairs(count)) for count in (8, 2))
    assert low < apart_low and apart_high < high


def test_next_round_begins_with_the_kept_weights() -> None:
    """With early stopping the second round starts from the best look of the first, not from its last."""
    shared = {"log": [], "seconds": 1.0, "earlier_seconds": 0.0, "resumed_at_step": 0, "micro_batch_size": 1}
    seen = [{"step": 0, "task": 0.5}, {"step": 2, "task": 0.7}, {"step": 4, "task": 0.1}]
    first = Fitted(steps=4, kept_step=2, looks=seen, memory={"memory_peak_gib": 2.0}, **shared)
    seen = [{"step": 0, "task": 0.7}, {"step": 4, "task": 0.2}]
    second = Fitted(steps=4, kept_step=0, looks=seen, memory={"memory_peak_gib": 1.0}, **shared)
    counted = AlignmentRound(pairs=1, last_step=4)
    found = rounds._joined([(first, counted), (second, counted)]).fitted
    assert [(look["step"], look["task"]) for look in found.looks] == [(0, 0.5), (2, 0.7), (4, 0.7), (8, 0.2)]
    assert found.kept_step == 4
    assert found.memory == first.memory

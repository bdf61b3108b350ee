"""The figures of an alignment: names of TRL's numbers, and the warning about pairs that were learned in vain."""

import pytest

from stages.align import results
from stages.figures import Alignment, AlignmentLook


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

"""The figures of an alignment: its curves, what it learned from, and what it cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.align.run import Aligned, Fitted
from stages.figures.alignment import Alignment, AlignmentCost, AlignmentLook, AlignmentStep
from stages.figures.cost import Machine
from stages.preferences import making
from stages.preferences.records import Pair
from stages.statistics import rate_interval

NAMES = {  # of TRL, by field of AlignmentStep
    "loss": ("loss",),
    "learning_rate": ("learning_rate",),
    "accuracy": ("rewards/accuracies", "accuracy"),
    "margin": ("rewards/margins", "margin"),
    "chosen": ("rewards/chosen",),
    "rejected": ("rewards/rejected",),
    "reward": ("reward",),
    "kl": ("kl",),
    "entropy": ("entropy",),
    "no_signal": ("frac_reward_zero_std",),
    "clipped": ("completions/clipped_ratio",),
}


def alignment(method: str, aligned: Aligned, trainable_parameters: int) -> Alignment:
    fitted = aligned.fitted
    unknown = {"kto": {"kl"}}.get(method, set())  # that of mismatched whole answers, unlike `kl` of a look
    steps = [step({name: value for name, value in entry.items() if name not in unknown}) for entry in fitted.log]
    return Alignment(
        method=method,
        steps=fitted.steps,
        kept_step=fitted.kept_step,
        pairs=aligned.pairs,
        held_out=len(aligned.right),
        interval=interval(aligned.right, aligned.held_out),
        trainable_parameters=trainable_parameters,
        looks=_looks(fitted, steps),
        log=steps,
        rounds=aligned.rounds,
    )


def cost(fitted: Fitted, seconds: float, machine: Machine) -> AlignmentCost:
    return AlignmentCost(
        seconds=round(seconds, 1),
        train_seconds=fitted.seconds,
        resumed_at_step=fitted.resumed_at_step,
        micro_batch_size=fitted.micro_batch_size,
        **fitted.memory,
        machine=machine,
    )


def step(entry: Mapping[str, Any]) -> AlignmentStep:
    """Return TRL's numbers of a step."""
    found = {
        field: round(entry[name], 8 if field == "learning_rate" else 6)
        for field, names in NAMES.items()
        for name in names
        if entry.get(name) is not None
    }
    each = {
        name.split("/")[1]: round(entry[name], 6)
        for name in sorted(entry)  # a resumed run reads its log in another order
        if name.startswith("rewards/") and name.endswith("/mean")
    }
    return AlignmentStep.model_validate({"step": entry["step"], **found, **({"rewards": each} if each else {})})


def interval(right: Sequence[float], pairs: Sequence[Pair]) -> tuple[float, float] | None:
    """Return the interval of the share of held-out pairs that are right; the pairs of a prompt form a cluster."""
    if not right:
        return None
    rate = rate_interval(np.array(right, dtype=float), np.array([making.key(pair.prompt) for pair in pairs]))
    return round(float(rate.low), 6), round(float(rate.high), 6)


def summary(found: Alignment) -> str:
    """Return one line for the terminal."""
    names = {"task": "task", "pair_accuracy": "held-out pairs", "kl": "KL per answer token"}
    seen = found.until_kept()
    changes = [
        f"{name} {getattr(seen[0], field):.3f} → {getattr(seen[-1], field):.3f}"
        for field, name in names.items()
        if seen and getattr(seen[-1], field) is not None and getattr(seen[0], field) is not None
    ]
    kept = "" if found.kept_step == found.steps else f", kept that of step {found.kept_step}"
    return f"{found.method}, {found.steps} steps{kept}; " + ", ".join(changes)


def warning(found: Alignment) -> str:
    """Return a line if held-out pairs were learned and the task's score did not rise, else "" (LLaMA-Factory#5116)."""
    accuracy = [look.pair_accuracy for look in found.until_kept() if look.pair_accuracy is not None]
    task = [look.task for look in found.until_kept() if look.task is not None]
    if len(accuracy) < 2 or len(task) < 2 or accuracy[-1] <= accuracy[0] or task[-1] > task[0]:
        return ""
    return (
        f"warning: the accuracy of held-out pairs rose from {accuracy[0]:.3f} to {accuracy[-1]:.3f}, but the score of "
        f"validation answers did not ({task[0]:.3f} to {task[-1]:.3f}): pairs were learned, answers did not improve"
    )


def _looks(fitted: Fitted, steps: list[AlignmentStep]) -> list[AlignmentLook]:
    looks, before = [], 0
    for entry in fitted.looks:
        rewards = [each.reward for each in steps if before < each.step <= entry["step"] and each.reward is not None]
        mean = {"reward": round(sum(rewards) / len(rewards), 6)} if rewards else {}
        looks.append(AlignmentLook.model_validate(entry | mean))
        before = entry["step"]
    return looks

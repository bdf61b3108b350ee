"""The names of systems.

`base_<k>shot` is the untuned model with k examples in its prompt, `tuned_<seed>` a tuned one. With the best passage of the
documents in the prompt they are `base_passage` and `tuned_<seed>_passage`. `aligned_<seed>` is the tuned model after `align`.
`tuned`, `tuned_passage` and `aligned` are means over seeds; `vote` is the vote of the tuned models of
all seeds and of kept adapters.
"""

from collections.abc import Mapping, Sequence

PASSAGE = "_passage"
ANSWERING = ("dpo", "kto", "grpo")  # methods of alignment whose result answers prompts
TUNED, ALIGNED, VOTE = "tuned", "aligned", "vote"
BASE_PASSAGE, TUNED_PASSAGE = f"base{PASSAGE}", f"{TUNED}{PASSAGE}"


def bases(shots: Sequence[int], passage: bool) -> list[str]:
    """Return the untuned systems; with `passage`, one of them has a passage in its prompt."""
    return [f"base_{count}shot" for count in shots] + [BASE_PASSAGE] * passage


def tuned(seeds: Sequence[int]) -> dict[int, str]:
    """Return the tuned systems without a passage, by seed."""
    return {seed: f"{TUNED}_{seed}" for seed in seeds}


def aligned(seeds: Sequence[int], method: str) -> dict[int, str]:
    """Return the aligned systems by seed; none where the method of alignment answers no prompt."""
    return {seed: f"{ALIGNED}_{seed}" for seed in seeds} if method in ANSWERING else {}


def with_passage(bases: Sequence[str], tuned: Mapping[int, str]) -> dict[int, str]:
    """Return the tuned systems with a passage in the prompt; none unless a base has one, since `predict.passage` adds both."""
    return {seed: f"{system}{PASSAGE}" for seed, system in tuned.items()} if BASE_PASSAGE in bases else {}


def is_tuned(system: str) -> bool:
    """Return whether a system is tuned, not aligned, and has no passage in its prompt."""
    return system.startswith(f"{TUNED}_") and not system.endswith(PASSAGE)


def is_aligned(system: str) -> bool:
    return system.startswith(f"{ALIGNED}_")

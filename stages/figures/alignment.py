"""The curves of an alignment, and what it cost."""

from pydantic import Field

from stages.figures import Figures
from stages.figures.cost import Machine


class AlignmentStep(Figures):
    """The numbers of a step while aligning, means since the last one; each method has some of them.

    `accuracy` and `margin` are those of the step's own pairs, `chosen` and `rejected` the mean rewards of its answers. GRPO has
    `reward` and each of `rewards` by name, `kl` to the tuned model, `entropy` (nats per token), `no_signal`: the share of
    groups whose rewards are all equal, and `clipped`: the share of answers cut at the token limit.
    """

    step: int
    loss: float
    learning_rate: float
    accuracy: float | None = None
    margin: float | None = None
    chosen: float | None = None
    rejected: float | None = None
    reward: float | None = None
    rewards: dict[str, float] | None = None
    kl: float | None = None
    entropy: float | None = None
    no_signal: float | None = None
    clipped: float | None = None


class AlignmentLook(Figures):
    """What a look at rows that are not trained on measured after a step; each method has some of it.

    `task` is the mean score of greedy answers to validation rows, `right` the share with full score, `kl` (nats per answer
    token) their distance from the tuned model. `pair_accuracy` is the share of held-out pairs whose chosen answer gained more,
    `margin` by how much (nats; of a reward model: of reward). `reward` is the mean reward of the steps since the look before.
    """

    step: int
    task: float | None = None
    right: float | None = None
    stop_rate: float | None = None
    kl: float | None = None
    pair_accuracy: float | None = None
    margin: float | None = None
    reward: float | None = None


class AlignmentRound(Figures):
    """One round: pairs trained on, steps of all rounds at its end, and for sampled pairs the mean score of the samples."""

    pairs: int
    last_step: int
    score: float | None = None


class Alignment(Figures):
    """What one seed's alignment learned from, and its curves. `kept_step` is the step whose weights are stored.

    `pairs` counts what is trained on: pairs, votes or prompts. `interval` is that of the kept look's `pair_accuracy` (Wilson,
    95 %) over `held_out` pairs. The kept look of a reward model is taken after training, of the model as it is stored.
    """

    steps: int
    looks: list[AlignmentLook]
    method: str = ""
    kept_step: int | None = None
    pairs: int = 0
    held_out: int = 0
    interval: tuple[float, float] | None = None
    trainable_parameters: int = 0
    log: list[AlignmentStep] = Field(default_factory=list)
    rounds: list[AlignmentRound] = Field(default_factory=list)

    def until_kept(self) -> list[AlignmentLook]:
        """Return the looks up to the step whose weights are kept; the last of them describes these weights."""
        last = self.steps if self.kept_step is None else self.kept_step
        return [look for look in self.looks if look.step <= last]


class AlignmentCost(Figures):
    """Time and memory of one run, with its looks and all its rounds.

    After a kill, the seconds hold those up to the checkpoint that the run continued from, and memory is that of its last part.
    `train_seconds` leaves out what happens before the first step and after the last.
    """

    seconds: float
    train_seconds: float | None = None
    resumed_at_step: int | None = None
    micro_batch_size: int | None = None
    memory_before_gib: float | None = None
    memory_peak_gib: float
    memory_reserved_gib: float | None = None
    memory_total_gib: float | None = None
    memory_share: float | None = None
    memory_training_share: float | None = None
    machine: Machine

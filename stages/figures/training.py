"""The curves of a training, and what it cost."""

from stages.figures import Figures
from stages.figures.cost import Machine


class Loss(Figures):
    """The mean loss of an optimizer step's rows, or of validation rows after it."""

    step: int
    loss: float


class TrainingLoss(Loss):
    learning_rate: float


class Training(Figures):
    """Sizes and losses of one seed's training, which repeat exactly on one machine."""

    model_bytes: int
    trainable_parameters: int
    total_parameters: int
    adapter_bytes: int
    rows: int
    tokens: int
    supervised_tokens: int
    steps: int
    log: list[TrainingLoss]
    validation: list[Loss]


class TrainingCost(Figures):
    """Time and memory of one run. A CPU has only the first two numbers of memory.

    After a resume, time is that of all parts, without what was repeated, and memory that of the last. Memory is that of the
    first of the `processes`, and tokens are those of all. Earlier reports lack `micro_batch_size` and `processes`.
    """

    seconds: float
    train_seconds: float
    tokens_per_second: float
    resumed_at_step: int
    micro_batch_size: int | None = None
    processes: int | None = None
    memory_before_gib: float
    memory_peak_gib: float
    memory_reserved_gib: float | None = None
    memory_total_gib: float | None = None
    memory_share: float | None = None
    memory_training_share: float | None = None
    machine: Machine

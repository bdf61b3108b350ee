"""Watch a run: the seconds that it has taken, over all its parts, and a loss that is no longer a number."""

import math
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from stages.errors import DataError

ELAPSED = "elapsed"


class Clock(TrainerCallback):
    """Writes the seconds of the run into each entry of its log, which checkpoints hold.

    `earlier` seconds passed before a kill, up to the checkpoint that the run continues from.
    """

    def __init__(self, already: TrainerState) -> None:
        self.earlier: float = next((entry[ELAPSED] for entry in reversed(already.log_history) if ELAPSED in entry), 0.0)
        self.begin = time.monotonic() - self.earlier

    def seconds(self) -> float:
        return time.monotonic() - self.begin

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        state.log_history[-1][ELAPSED] = round(self.seconds(), 1)


class Divergence(TrainerCallback):
    """Ends a run whose loss is infinite or not a number: its weights are lost, and no later step would mend them."""

    def __init__(self, section: str) -> None:
        self.section = section

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        entry = state.log_history[-1]
        for name in ("loss", "eval_loss"):
            if name in entry and not math.isfinite(entry[name]):
                raise DataError(
                    f"{self.section}: the loss is {entry[name]} at step {state.global_step}, so training has diverged and no "
                    f"model is stored; lower {self.section}.learning_rate = {args.learning_rate:g}, or raise "
                    f"{self.section}.warmup_steps"
                )

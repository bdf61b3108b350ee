"""Share the rows of each batch among processes, so that every batch of a run has the rows that it has with one process.

accelerate deals whole micro-batches to the processes in turn, and repeats rows where the last ones are incomplete. Here a row
without supervised tokens fills those places instead.
"""

from collections.abc import Iterator
from typing import Any

from accelerate.data_loader import DataLoaderShard
from torch.utils.data import Dataset, Sampler

from stages.text.chat import IGNORE

NO_ROW = -1


class Evened(Sampler[int]):
    """The places of a sampler, and then NO_ROW up to a multiple of `rows`, those of a micro-batch for each process."""

    def __init__(self, sampler: Sampler[int], rows: int) -> None:
        self.sampler, self.rows = sampler, rows

    def __iter__(self) -> Iterator[int]:
        yield from self.sampler
        yield from [NO_ROW] * (len(self) - len(self.sampler))

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.rows) * self.rows

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)


class Rows(Dataset[dict[str, Any]]):
    """Rows by their place; NO_ROW gives one of a single token, which has no loss."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        first: dict[str, Any] = rows[0]
        self.empty = {name: value[:1] for name, value in first.items()} | {"labels": [IGNORE]}
        if "seq_lengths" in first:
            self.empty["seq_lengths"] = [1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.empty if place == NO_ROW else self.rows[place]


def let_epochs_through(loader: DataLoaderShard) -> DataLoaderShard:
    """Return the loader of one process; when a resumed run skips batches of it, accelerate looks for the sampler here."""
    loader.batch_sampler.sampler = loader.batch_sampler.batch_sampler.sampler
    return loader

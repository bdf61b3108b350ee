"""Pairs and single answers as token ids for TRL, rendered as prediction sees them, with the reference's log-probabilities.

No row is cut or left out here: the stage pairs has left out what the model cannot read whole, and counted it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from stages import records
from stages.preferences import reference
from stages.preferences.records import Pair, Vote
from stages.preferences.reference import Answer
from stages.text import chat


class Judged(NamedTuple):
    """An answer that is good or bad by itself; `logprob` is that of the reference (nats)."""

    answer: Answer
    good: bool
    logprob: float


def read_pairs(folder: Path) -> list[Pair]:
    return list(records.read(folder / "pairs.jsonl", Pair))


def read_votes(folder: Path) -> list[Vote]:
    return list(records.read(folder / "votes.jsonl", Vote))


def split(pairs: Iterable[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to train on, and those that are held out."""
    found = list(pairs)
    return [pair for pair in found if not pair.held_out], [pair for pair in found if pair.held_out]


def judged(pairs: Iterable[Pair], votes: Iterable[Vote]) -> list[Judged]:
    """Return each answer of these pairs once, and the votes that are not held out."""
    found = [
        side
        for pair in pairs
        for side in (
            Judged(reference.chosen(pair), True, pair.chosen_logprob),
            Judged(reference.rejected(pair), False, pair.rejected_logprob),
        )
    ]
    found += [Judged(reference.voted(vote), vote.good, vote.logprob) for vote in votes if not vote.held_out]
    return list(dict.fromkeys(found))


def of_pairs(pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Return a row for each pair."""
    return Dataset.from_list(
        [
            {
                "prompt_ids": chat.prompt_ids(tokenizer, pair.prompt),
                "chosen_ids": reference.answer_ids(tokenizer, reference.chosen(pair)),
                "rejected_ids": reference.answer_ids(tokenizer, reference.rejected(pair)),
                "ref_chosen_logps": pair.chosen_logprob,
                "ref_rejected_logps": pair.rejected_logprob,
            }
            for pair in pairs
        ]
    )

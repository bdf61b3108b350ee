"""The tuned model's log-probabilities of chosen, rejected and voted answers: the reference of DPO and KTO, computed once.

The model must be the one that align trains, before its first step: the base in the quantization of training, with the adapter
separate. With merged weights the loss would start biased by their rounding.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from rich.progress import track
from transformers import PreTrainedTokenizerBase

from stages.generation.likelihoods import log_likelihoods
from stages.models.loading import LanguageModel
from stages.preferences.made import Made, changed
from stages.preferences.records import Pair, Vote
from stages.records import Message
from stages.text import chat

DIGITS = 4  # of the nats that are stored
ROWS = 16  # of a batch at most: its logits are the largest tensor of the stage
TOO_LONG = "too long"


class Answer(NamedTuple):
    """An answer to a prompt; one that is not `stopped` has no end token."""

    prompt: tuple[Message, ...]
    text: str
    stopped: bool


class Lengths(NamedTuple):
    """The tokens of the chosen and of the rejected answers, in the order of their pairs."""

    chosen: list[int]
    rejected: list[int]


class Measured(NamedTuple):
    """The log-probability of an answer (nats, summed over its tokens), and the number of these tokens."""

    logprob: float
    tokens: int


def chosen(pair: Pair) -> Answer:
    return Answer(pair.prompt, pair.chosen, pair.chosen_stopped)


def rejected(pair: Pair) -> Answer:
    return Answer(pair.prompt, pair.rejected, pair.rejected_stopped)


def voted(vote: Vote) -> Answer:
    return Answer(vote.prompt, vote.text, vote.stopped)


def answer_ids(tokenizer: PreTrainedTokenizerBase, answer: Answer) -> list[int]:
    """Return the tokens of an answer, with its end if the model ended it."""
    turns = [*answer.prompt, Message(role="assistant", content=answer.text)]
    ids = chat.answer_ids(tokenizer, turns)
    return ids if answer.stopped else ids[:-1]


def measured(lm: LanguageModel, sources: Mapping[str, Made]) -> tuple[dict[str, Made], Lengths]:
    """Return the pairs and votes of each source with log-probabilities, and the lengths of chosen and rejected answers."""
    pairs = [pair for made in sources.values() for pair in made.pairs]
    votes = [vote for made in sources.values() for vote in made.votes]
    answers = [*map(chosen, pairs), *map(rejected, pairs), *map(voted, votes)]
    known = likelihoods(lm, answers)
    found = {name: _with_logprobs(made, known) for name, made in sources.items()}
    return found, Lengths([known[chosen(pair)].tokens for pair in pairs], [known[rejected(pair)].tokens for pair in pairs])


def fitting(tokenizer: PreTrainedTokenizerBase, made: Made) -> Made:
    """Return what a source made without pairs and votes that are longer than the model can read."""
    most = tokenizer.positions or sys.maxsize

    def fits(answer: Answer) -> bool:
        return len(chat.prompt_ids(tokenizer, answer.prompt)) + len(answer_ids(tokenizer, answer)) <= most

    pairs = [pair for pair in made.pairs if fits(chosen(pair)) and fits(rejected(pair))]
    votes = [vote for vote in made.votes if fits(voted(vote))]
    left_out = len(made.pairs) - len(pairs) + len(made.votes) - len(votes)
    return replace(made, pairs=pairs, votes=votes, dropped=made.dropped + Counter({TOO_LONG: left_out}))


def likelihoods(lm: LanguageModel, answers: Sequence[Answer], quiet: bool = False) -> dict[Answer, Measured]:
    """Return the log-probability of each different answer, under the autocast of training; print no bar if `quiet`."""
    rows = [(chat.prompt_ids(lm.tokenizer, a.prompt), answer_ids(lm.tokenizer, a), a) for a in dict.fromkeys(answers)]
    rows.sort(key=lambda row: (len(row[0]) + len(row[1]), row[0], row[1]))
    found = {answer: Measured(0.0, 0) for _, _, answer in rows}
    rows = [row for row in rows if row[1]]  # an answer that was cut off before its first token has none
    for batch in track([rows[at : at + ROWS] for at in range(0, len(rows), ROWS)], "reference", disable=quiet):
        with torch.autocast(lm.model.device.type, torch.bfloat16, enabled=lm.model.dtype == torch.bfloat16):
            nats = log_likelihoods(lm, [prompt for prompt, _, _ in batch], [ids for _, ids, _ in batch])
        found |= {a: Measured(round(value, DIGITS), len(ids)) for (_, ids, a), value in zip(batch, nats, strict=True)}
    return found


def _with_logprobs(made: Made, known: Mapping[Answer, Measured]) -> Made:
    pairs = [
        changed(pair, chosen_logprob=known[chosen(pair)].logprob, rejected_logprob=known[rejected(pair)].logprob)
        for pair in made.pairs
    ]
    return replace(made, pairs=pairs, votes=[changed(vote, logprob=known[voted(vote)].logprob) for vote in made.votes])

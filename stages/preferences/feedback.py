"""Pairs and votes that the stage `feedback` made: corrections against answers, and single answers."""

from pathlib import Path

from stages import records
from stages.preferences.made import Made
from stages.preferences.records import Pair, Vote


def made(folder: Path) -> Made:
    """Return its pairs and votes. Questions of validation and test rows are not among them."""
    pairs = list(records.read(folder / "pairs.jsonl", Pair))
    votes = list(records.read(folder / "votes.jsonl", Vote))
    return Made(candidates=len(pairs) + len(votes), pairs=pairs, votes=votes)

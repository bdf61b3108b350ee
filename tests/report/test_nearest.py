"""The training examples nearest to a question are found by its words, in any script."""

import pytest

from stages.records import Example, Message
from stages.report.nearest import Nearest


def example(question: str) -> Example:
    messages = (Message(role="user", content=question), Message(role="assistant", content="x"))
    return Example(kind="text", messages=messages, source="s")


@pytest.mark.parametrize(
    ("question", "near", "far", "similarity"),
    [
        ("What is the fee of my card?", "the fee of my card, please", "what colour is a parcel", 0.769),
        ("金账户的月费是多少？", "银账户的月费是多少", "如何开户", 0.889),
    ],
)
def test_punctuation_is_ignored_and_characters_are_words(question: str, near: str, far: str, similarity: float) -> None:
    train = [example(far), example(near)]
    found = Nearest(train, {row.id: row.model_dump() for row in train}).to(example(question), 2)
    assert [row["question"] for row in found] == [near, far]
    assert found[0]["similarity"] == similarity

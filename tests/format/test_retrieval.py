"""The questions of a split with their passages."""

from stages.format.retrieval import with_passages
from stages.records import Document, Example, Message


def passage(text: str) -> Document:
    return Document(text=text, kind="passage", source=text.split()[0])


PASSAGES = [
    passage("gold account fee of the account is ten"),
    passage("silver account fee of the account is five"),
]


def test_question_stands_above_its_passage() -> None:
    messages = [
        Message(role=role, content=text) for role, text in (("system", "s"), ("user", "silver fee?"), ("assistant", "five"))
    ]
    example = Example(kind="text", messages=tuple(messages), source="d", slices=("answerable",))
    (shown,) = with_passages([example], PASSAGES)
    assert shown.messages[1].content == f"silver fee?\n{PASSAGES[1].text}"
    assert (shown.messages[0], shown.reference, shown.slices) == (messages[0], "five", ("answerable",))
    assert shown.parents == (example.id, PASSAGES[1].id)


def test_without_passages_nothing_is_shown() -> None:
    assert with_passages([], PASSAGES) == with_passages([Example(kind="text", messages=(), source="d")], []) == []

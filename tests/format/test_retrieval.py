"""Retrieval: the passage that shares the rare words of the question wins."""

from stages.format.retrieval import BM25, with_passages
from stages.records import Document, Example, Message


def passage(text: str) -> Document:
    return Document(text=text, kind="passage", source=text.split()[0])


PASSAGES = [
    passage("gold account fee of the account is ten"),
    passage("silver account fee of the account is five"),
    passage("银账户 月费 五元"),
    passage("the account the account the account"),
]


def test_rare_words_decide() -> None:
    index = BM25(PASSAGES)
    assert index.best("What is the fee of the silver account?").source == "silver"
    assert index.best("What is the fee of the gold account?").source == "gold"
    assert index.best("银账户的月费是多少？") == PASSAGES[2]


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


def test_of_passages_without_a_word_the_first_is_shown() -> None:
    wordless = [passage("!!!"), passage("…")]
    assert BM25(wordless).best("What is the fee?") == wordless[0]


def test_word_that_a_question_repeats_counts_each_time() -> None:
    passages = [passage("gold account"), passage("silver card")]
    assert BM25(passages).best("gold silver silver") == passages[1]
    assert BM25(passages).best("silver gold gold") == passages[0]

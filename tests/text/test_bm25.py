"""Retrieval: the passage that shares the rare words of the question wins."""

from stages.records import Document
from stages.text.bm25 import BM25


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


def test_of_passages_without_a_word_the_first_is_shown() -> None:
    wordless = [passage("!!!"), passage("…")]
    assert BM25(wordless).best("What is the fee?") == wordless[0]


def test_word_that_a_question_repeats_counts_each_time() -> None:
    passages = [passage("gold account"), passage("silver card")]
    assert BM25(passages).best("gold silver silver") == passages[1]
    assert BM25(passages).best("silver gold gold") == passages[0]

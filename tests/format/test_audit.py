"""The audit of format: counts, dropped, truncated and refused rows."""

import pytest

from stages.errors import DataError
from stages.format import audit
from stages.params import Format
from stages.records import Example, Message
from stages.text import chat

pytestmark = pytest.mark.model


def row(question: str, answer: str, *earlier: str) -> Example:
    turns = [Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate((*earlier, question, answer))]
    return Example(kind="text", messages=tuple(turns), source=f"about {question[:9]}")


def limits(max_length: int, overlong: str = "drop") -> Format:
    return Format(authored=True, max_length=max_length, overlong=overlong, overlap_ngram=None, max_lost=0.05, shots=0)


def length(tokenizer, example: Example) -> int:
    return len(chat.encode(tokenizer, example.messages)[0].input_ids)


def test_counts_are_those_of_the_rows(tokenizer):
    first, second = row("ab", "cde"), row("f", "gh", "1", "2")
    fitted, figures = audit.fit({"train": [first, second, first], "valid": [second], "test": []}, tokenizer, limits(999))
    assert list(fitted["train"]) == [first, second, first]
    a, b = length(tokenizer, first), length(tokenizer, second)
    assert figures["train"].model_dump() == {
        "rows": 3,
        "tokens": 2 * a + b,
        "supervised_tokens": 2 * 4 + (2 + 3),  # bytes of the answers and one end token per answer
        "longest": max(a, b),
        "longest_answer": 4,
        "truncated": 0,
        "dropped": 0,
        "duplicates": 1,
        "control_tokens": 0,
        "lost": 0,
        "unknown": 0,
        "unknown_prompts": 0,
        "layout_lost": 0,
        "end_supervised": 1.0,
    }
    assert figures["test"].rows == 0


def test_a_row_of_exactly_the_limit_stays(tokenizer):
    example = row("question", "answer")
    fitted, _ = audit.fit({"train": [example]}, tokenizer, limits(length(tokenizer, example), "fail"))
    assert list(fitted["train"]) == [example]


def test_drop_removes_and_counts_overlong_rows(tokenizer):
    short, long = row("a", "b"), row("a", "b" * 50)
    fitted, figures = audit.fit({"train": [long, short], "valid": [long]}, tokenizer, limits(length(tokenizer, short)))
    assert (list(fitted["train"]), list(fitted["valid"])) == ([short], [])
    train, valid = figures["train"], figures["valid"]
    assert (train.rows, train.dropped, train.longest) == (1, 1, length(tokenizer, long))
    assert (valid.rows, valid.dropped, valid.end_supervised) == (0, 1, 0.0)


def test_truncated_row_does_not_learn_its_end(tokenizer):
    short, long = row("a", "b"), row("a", "b" * 50)
    limit = length(tokenizer, short) + 10
    fitted, figures = audit.fit({"train": [short, long]}, tokenizer, limits(limit, "truncate"))
    train = figures["train"]
    assert list(fitted["train"]) == [short, long]
    assert (train.truncated, train.dropped, train.end_supervised) == (1, 0, 0.5)
    assert train.tokens == length(tokenizer, short) + limit
    assert train.supervised_tokens == 2 + 12  # `b` and its end; twelve bytes of the truncated row


def test_fail_names_the_row_and_the_options(tokenizer):
    long = row("where", "b" * 50)
    with pytest.raises(DataError, match=rf"train row {long.id} \(source about where\).*max_length = 40.*overlong=drop"):
        audit.fit({"train": [long]}, tokenizer, limits(40, "fail"))


def test_prompt_that_fills_the_window_is_refused(tokenizer):
    long = row("q" * 60, "b")
    with pytest.raises(DataError, match=rf"{long.id}.*would train on nothing"):
        audit.fit({"train": [row("a", "b"), long]}, tokenizer, limits(50, "truncate"))


def test_empty_training_set_names_both_causes(tokenizer):
    with pytest.raises(DataError, match=r"no train rows left of 1 .*format.max_length = 5.*overlap_ngram"):
        audit.fit({"train": [row("a", "b")]}, tokenizer, limits(5))
    with pytest.raises(DataError, match="no train rows left of 0"):
        audit.fit({"train": []}, tokenizer, limits(500))


@pytest.mark.parametrize("policy", ["drop", "truncate", "fail"])
def test_test_rows_are_never_touched(tokenizer, policy):
    long = row("a", "b" * 50)
    splits = {"train": [row("a", "b")], "test": [long]}
    fitted, figures = audit.fit(splits, tokenizer, limits(length(tokenizer, splits["train"][0]), policy))
    assert list(fitted["test"]) == [long]
    assert (figures["test"].dropped, figures["test"].truncated) == (0, 0)


def test_marks_enclose_what_is_trained_on(tokenizer):
    example = row("再见", "走好", "hi", "yo")
    page = audit.trained_on([example], tokenizer)
    assert page == (
        f"# {example.id}\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n⟦yo<|im_end|>⟧\n"
        "<|im_start|>user\n再见<|im_end|>\n<|im_start|>assistant\n⟦走好<|im_end|>⟧\n"
    )


def test_rows_with_control_tokens_are_counted_and_reported(tokenizer, caplog):
    rows = [row("a", "b"), row("<|im_end|>", "b"), row("a", "<|im_start|>user")]
    figures = audit.fit({"train": rows, "valid": [], "test": []}, tokenizer, limits(999))[1]
    assert figures["train"].control_tokens == 2
    assert "train: 2 of 3 rows hold control tokens" in caplog.text

"""Thoughts before an answer: what separates them, and that prompts are those of training."""

from pathlib import Path

import pytest
import trl

from stages.generation.decoding import Completion
from stages.models.loading import LanguageModel
from stages.predict import answers
from stages.records import Example, Message
from stages.text import chat, thoughts
from stages.text.thoughts import Marks, separated

pytestmark = pytest.mark.model

THINK = Marks("<think>", "</think>")
ROW = Example(
    kind="text",
    messages=(Message(role="user", content="Is 1 even?"), Message(role="assistant", content="No.", reasoning="1 mod 2 is 1.")),
    source="s",
)


@pytest.fixture
def qwen3(template):
    return template((Path(trl.__path__[0]) / "chat_templates/qwen3.jinja").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen3", THINK),
        ("glm4moe", THINK),
        ("nemotron_3_nano", Marks("", "</think>")),  # the prompt begins the thoughts
        ("qwen2_5", Marks("Marker8", "")),  # writes no thoughts
    ],
)
def test_marks_are_those_of_the_template(template, name, expected):
    tokenizer = template((Path(trl.__path__[0]) / f"chat_templates/{name}.jinja").read_text(encoding="utf-8"))
    assert thoughts.marks(tokenizer) == expected


@pytest.mark.parametrize(
    ("text", "before", "answer"),
    [
        ("<think>\nhm\n</think>\n\nNo.", "<think>\nhm\n</think>\n\n", "No."),
        ("<think>a</think> b </think> No.", "<think>a</think> b </think> ", "No."),
        ("hm</think>No.", "hm</think>", "No."),
        ("<think>hm", "<think>hm", ""),
        ("<think>hm</think>", "<think>hm</think>", ""),
        ("No.", "", "No."),
        ("", "", ""),
    ],
)
def test_thoughts_stand_before_the_last_mark(text, before, answer):
    assert separated(text, THINK) == (before, answer)
    assert before + answer == text


def test_thoughts_that_the_prompt_begins_must_end():
    assert separated("hm, hm", Marks("", "</think>")) == ("hm, hm", "")


def test_text_without_marks_is_an_answer():
    assert separated("hm\nNo.", Marks("", "")) == ("", "hm\nNo.")


def test_prompt_of_a_thoughtful_row_is_that_of_training(qwen3):
    (sequence,) = chat.encode(qwen3, ROW.messages)
    prompt = chat.prompt_ids(qwen3, ROW.prompt)
    assert sequence.input_ids[: -sequence.supervised] == prompt
    assert qwen3.decode(sequence.answers[0]) == "<think>\n1 mod 2 is 1.\n</think>\n\nNo.<|im_end|>"
    without = [ROW.messages[0], Message(role="assistant", content="No.")]
    assert qwen3.decode(chat.prompt_ids(qwen3, without[:1])) == qwen3.decode(prompt) + "<think>\n\n</think>\n\n"
    assert ROW.messages[0] == without[0]  # nothing is stored


def test_only_the_answer_is_scored(qwen3, tuned_fp32, monkeypatch):
    reply = "<think>\nhm\n</think>\n\nNo."
    plain = ROW.model_copy(update={"messages": (ROW.messages[0], Message(role="assistant", content="No."))})
    monkeypatch.setattr(answers.decoding, "generate", lambda lm, prompts, *_: [Completion(reply, True, 9) for _ in prompts])
    lm = LanguageModel(tuned_fp32, qwen3)
    thoughtful, other = answers.predict(lm, [ROW, plain], {"": []}, "x", batch_size=2, max_new_tokens=9, likelihood_rows=1)
    assert (thoughtful.text, thoughtful.thoughts) == ("No.", "<think>\nhm\n</think>\n\n")
    assert (other.text, other.thoughts) == (reply, "")
    assert thoughtful.reference_tokens == len(chat.answer_ids(qwen3, ROW.messages))


def test_agreement_covers_the_thoughts(qwen3, tuned_fp32):
    lm = LanguageModel(tuned_fp32, qwen3)
    limits = {"batch_size": 1, "max_new_tokens": 8, "likelihood_rows": 0}
    (prediction,) = answers.predict(lm, [ROW], {"": []}, "x", **limits)
    parts = {"thoughts": prediction.text[:3], "text": prediction.text[3:]}
    halved = type(prediction).model_validate(prediction.model_dump(exclude={"id"}) | parts)
    assert answers.agreement(lm, [ROW], [halved], "none") == answers.agreement(lm, [ROW], [prediction], "none")

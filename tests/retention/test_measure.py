"""What retention measures: bits and bytes of texts, log-likelihoods of options, replies to requests."""

import math
import sys
from pathlib import Path

import pytest

from stages.records import HARM, PLAIN_TEXT, Example, Message
from stages.retention.measure import measure

pytestmark = pytest.mark.model

TEXTS = ["A plain text.", "Ein längerer Text, mit Umlaut: é 你好.", "x y"]


@pytest.fixture(scope="module")
def lm(weights, tokenizer):
    """The tiny model in fp32, where a row does not depend on its neighbours in the batch."""
    from stages.models.loading import LanguageModel, load_base

    return LanguageModel(load_base(weights, "cpu").float(), tokenizer)


def row(answer: str, question: str = "q", **fields) -> Example:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Example(kind="choice" if "choices" in fields else "text", messages=messages, source="s", **fields)


def plain(text: str) -> Example:
    return Example(kind="text", messages=(Message(role="assistant", content=text),), source="s", slices=(PLAIN_TEXT,))


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_bits_of_a_text_are_those_of_a_forward_pass(lm, batch_size):
    import torch

    found = measure(lm, [plain(text) for text in TEXTS], batch_size).texts
    for text, measured in zip(TEXTS, found, strict=True):
        ids = torch.tensor([lm.tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            likely = lm.model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).sum()
        assert measured.bits == pytest.approx(-float(likely) / math.log(2), abs=0.01)
        assert measured.bytes == len(text.encode()) - 1  # the first token is one byte and conditions the rest


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_options_are_scored_and_the_right_one_is_named(lm, batch_size):
    from stages.generation.likelihoods import choices
    from stages.text import chat

    asked = [
        row("blue", "Which colour?", choices=("red", "blue", "deep green")),
        row("two", "How many of them are there altogether?", choices=("two", "three of the four or so")),
    ]
    for question, found in zip(asked, measure(lm, asked, batch_size).choices, strict=True):
        expected, tokens = choices(lm, chat.prompt_ids(lm.tokenizer, question.prompt), question.choices)
        assert (found.answer, found.tokens) == (question.choices.index(question.reference), tokens) and len(set(tokens)) > 1
        assert found.logprobs == pytest.approx(expected, abs=1e-3)


def test_replies_stay_with_their_requests(lm, monkeypatch):
    from stages.generation.decoding import Completion
    from stages.retention import measure as module

    def echo(lm, prompts, tokens):
        assert tokens == module.REPLY and len(prompts) <= 2
        return [Completion(lm.tokenizer.decode(ids, skip_special_tokens=True), True, 1) for ids in prompts]

    monkeypatch.setattr(module, "greedy", echo)
    harm = [row("", f"Do harm {number}", slices=(HARM,)) for number in range(3)]
    harmless = [row("", f"Do good {number}") for number in range(2)]
    found = measure(lm, [plain("Text."), row("a", choices=("a", "b")), *harm, *harmless], 2)
    assert [reply.prompt for reply in found.harm] == ["Do harm 0", "Do harm 1", "Do harm 2"]
    assert [reply.prompt for reply in found.harmless] == ["Do good 0", "Do good 1"]
    assert all(reply.prompt in reply.text for reply in [*found.harm, *found.harmless])


def test_without_items_nothing_is_measured(lm):
    found = measure(lm, [], 4)
    assert (found.texts, found.choices, found.harm, found.harmless) == ([], [], [], [])


def test_aligned_model_is_not_measured_unless_requested(room, monkeypatch):
    from stages.retention import __main__ as stage

    monkeypatch.chdir(room())
    monkeypatch.setattr(sys, "argv", ["retention", "aligned_42"])
    stage.main()
    assert Path("data/retention/aligned_42.json").read_text(encoding="utf-8") == "{}\n"

"""The base's own answers to general prompts, for replay and EWC."""

import json
import sys

import pytest

from stages import records
from stages.errors import DataError
from stages.records import Example
from stages.replay.__main__ import REPLAY, main

pytestmark = pytest.mark.model

PROMPTS = [f"Prompt {number}" for number in range(40)]


@pytest.fixture
def ready(room, monkeypatch):
    """Return a function that makes the current folder a repository with general prompts."""

    def make(*overrides: str):
        root = room("replay.path=prompts.jsonl", "replay.max_new_tokens=4", *overrides)
        monkeypatch.chdir(root)
        monkeypatch.setattr(sys, "argv", ["replay"])
        (root / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in PROMPTS), encoding="utf-8")
        return root

    return make


def test_without_replay_no_model_is_opened(ready, monkeypatch):
    from stages.models import loading

    ready()
    monkeypatch.setattr(loading, "open_base", lambda _: pytest.fail("a model was opened"))
    main()
    assert REPLAY.read_bytes() == b""


@pytest.mark.parametrize("option", ["replay.fraction=0.5", "replay.ewc_lambda=1.0"])
def test_only_answers_that_end_are_kept(ready, monkeypatch, option):
    from stages.generation import decoding
    from stages.generation.decoding import Completion

    batches = []

    def answers(lm, prompts, tokens):
        assert tokens == 4
        start = sum(batches)
        batches.append(len(prompts))
        places = range(start, start + len(prompts))
        return [Completion("" if place % 4 == 1 else f"Answer {place}", place % 2 == 1, 1) for place in places]

    ready(option)
    monkeypatch.setattr(decoding, "greedy", answers)
    main()
    kept = list(records.read(REPLAY, Example))
    places = [place for place in range(40) if place % 2 == 1 and place % 4 != 1]
    assert batches == [32, 8]
    assert [(one.prompt[0].content, one.reference) for one in kept] == [(f"Prompt {n}", f"Answer {n}") for n in places]
    assert [one.source for one in kept] == [f"general-{n + 1}" for n in places]


def test_a_damaged_prompt_is_named_with_its_line(ready):
    root = ready("replay.fraction=0.5")
    (root / "prompts.jsonl").write_text('{"prompt": "x"}\n{"prompt": 5}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"prompts.jsonl:2: prompt: "):
        main()

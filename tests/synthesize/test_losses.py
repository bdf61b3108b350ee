"""Warnings of methods that kept nothing: the true reason, what to change, and a frame that nobody overlooks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stages import params
from stages.fetch import authored
from stages.figures import read
from stages.figures.synthesis import Funnel
from stages.params import compose
from stages.records import Call, Document, Rejection, Task
from stages.synthesize import __main__ as synthesize
from stages.synthesize import losses
from stages.synthesize.made import Inputs, Made
from tests.fixtures.scripted import Scripted

KEPT = (Document(text="x", kind="body", source="s"),)
SEED_TASK = Task(kind="text", instruction="i", output="o", source="s")
NOTHING = "self_qa kept nothing, so it adds no training rows. "
CUT = "replies are incomplete; {} of them: the reply was cut off at max_new_tokens. Raise max_new_tokens in synthesis.self_qa."


def call(text: str = "Yes.", stopped: bool = True, thoughts: str = "", finish_reason: str = "") -> Call:
    return Call(
        messages=(),
        request="",
        text=text,
        stopped=stopped,
        thoughts=thoughts,
        finish_reason=finish_reason,
        prompt_tokens=1,
        new_tokens=1,
    )


WHOLE, CUT_OFF = call(), call("Ye", False)


def made(kept: Sequence[Document] = (), **rejected: int) -> Made:
    thrown = [Rejection(text="t", filter=name, reason="r") for name, count in rejected.items() for _ in range(count)]
    return Made(kept=list(kept), rejected=thrown)


@pytest.mark.parametrize(
    ("result", "calls", "warning"),
    [
        (made(KEPT), [WHOLE], ""),
        (made(KEPT, length=9), [WHOLE] * 6 + [CUT_OFF] * 6, ""),
        (made(KEPT), [WHOLE] + [CUT_OFF] * 2, "2 of 3 " + CUT.format(2)),
        (made(finished=3), [CUT_OFF] * 3, NOTHING + "3 of 3 " + CUT.format(3)),
        (
            made(length=7, finished=2),
            [WHOLE] * 7 + [CUT_OFF] * 2,
            f"{NOTHING}2 of 9 {CUT.format(2)} Its filter 'length' rejected 7 of 9 texts; "
            "data/synthetic/self_qa/rejected.jsonl holds each with the reason.",
        ),
        (
            made(grounded=4),
            [],
            f"{NOTHING}Its filter 'grounded' rejected 4 of 4 texts; "
            "data/synthetic/self_qa/rejected.jsonl holds each with the reason.",
        ),
        (made(), [], f"{NOTHING}There was no candidate."),
        (Made(tasks=[SEED_TASK]), [], "self_qa kept nothing, so it adds the seed tasks alone. There was no candidate."),
    ],
)
def test_warning_names_why_nothing_was_kept(result: Made, calls: Sequence[Call], warning: str) -> None:
    assert losses.warning("self_qa", result, calls) == warning


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            call("", False, "hm"),
            "is thoughts alone, which used up max_new_tokens. Raise max_new_tokens in synthesis.self_qa, or ",
        ),
        (call("", True, "hm", "stop"), "without an answer (finish_reason 'stop'). The server may take answers for thoughts"),
        (
            call("", False, "", "content_filter"),
            "is empty (finish_reason 'content_filter'). data/synthetic/self_qa/calls.jsonl ",
        ),
        (
            call("A", False, "", "abort"),
            "was broken off by the server (finish_reason 'abort'). data/synthetic/self_qa/calls.jsonl ",
        ),
        (call("", False, "", "refused"), "1 of 1 replies are incomplete; 1 of them: the reply was refused by the server."),
        (call("", True, "", "refusal"), "is empty (finish_reason 'refusal'). data/synthetic/self_qa/calls.jsonl "),
    ],
)
def test_warning_names_the_fault_of_the_replies_and_a_remedy(reply: Call, words: str) -> None:
    assert words in losses.warning("self_qa", made(leftovers=1), [reply])


def test_stage_ends_with_a_framed_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    bodies, layouts = authored.documents(compose.ROOT / "data/authored/complaints", "train")
    p = params.check(compose.composed("experiment=smoke"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["synthesize", "self_instruct"])
    monkeypatch.setattr(params, "read", lambda *sections: p)
    monkeypatch.setattr(params, "runtime", lambda: p.runtime)
    monkeypatch.setattr(synthesize, "backend", lambda *given: Scripted(lambda _: ("<think>\nhm", False)))
    inputs = Inputs(seeds=[*bodies, *layouts], pool=[], documents=[], facts=[], data=p.data)
    monkeypatch.setattr(synthesize, "read_inputs", lambda _: inputs)
    synthesize.main()
    printed = capsys.readouterr().err.strip()
    assert printed.splitlines()[-1].startswith("╰")
    warning = read(Path("data/synthetic/self_instruct/funnel.json"), Funnel).warning
    assert "8 of 8 replies are incomplete; 8 of them: the reply is thoughts alone, which used up max_new_tokens" in warning
    assert warning in " ".join(printed.replace("│", " ").split())

"""Replies as different servers write them, sent through the real client: text, thoughts, and whether the answer is whole.

`dialects.json` follows the servers' public documentation and issue threads. All replies are to the same request.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages import files, records
from stages.params import ReplayTeacher
from stages.teachers import completions
from stages.teachers.answers import unfinished
from stages.teachers.completions import ended
from stages.teachers.recording import Recording
from stages.teachers.teacher import Teacher
from tests.fixtures.serving import FREE, RUNTIME, asks, completion, teacher

DIALECTS: dict[str, Any] = json.loads(Path(__file__).with_name("dialects.json").read_text(encoding="utf-8"))
TEXT = "I paid twice for the same ticket on platform 7."
THOUGHTS = "The user wants a complaint. One sentence will do."
PART = "I paid twice"
LIMIT = "was cut off at max_new_tokens"
EXPECTED = {  # text, thoughts, finish_reason, what it lacks
    "OpenAI": (TEXT, "", "stop", None),
    "OpenAI, filtered": ("", "", "content_filter", "is empty (finish_reason 'content_filter')"),
    "vLLM": (TEXT, THOUGHTS, "stop", None),
    "vLLM before 0.11": (TEXT, THOUGHTS, "stop", None),
    "vLLM without a parser": (TEXT, THOUGHTS, "stop", None),
    "vLLM, cut while thinking": ("", THOUGHTS, "length", "is thoughts alone, which used up max_new_tokens"),
    "llama.cpp": (TEXT, THOUGHTS, "stop", None),
    "Ollama": (TEXT, THOUGHTS, "stop", None),
    "Ollama, cut": (PART, "", "length", LIMIT),
    "TGI": (TEXT, "", "eos_token", None),
    "SGLang": (TEXT, THOUGHTS, "stop", None),
    "SGLang, reason as an object": (PART, "", "length", LIMIT),
    "DeepSeek": (TEXT, THOUGHTS, "stop", None),
    "DeepSeek, overloaded": (
        *(PART, "", "insufficient_system_resource"),
        "was broken off by the server (finish_reason 'insufficient_system_resource')",
    ),
    "Mistral": (TEXT, THOUGHTS, "stop", None),
    "Mistral, parts": (TEXT, "", "stop", None),
    "Mistral, cut": (PART, "", "model_length", LIMIT),
    "OpenRouter": (TEXT, THOUGHTS, "stop", None),
    "LM Studio, end tag alone": (TEXT, THOUGHTS, "stop", None),
    "OpenAI, declined": ("", "", "refusal", "is empty (finish_reason 'refusal')"),
    "SGLang, gpt-oss without a parser": (TEXT, THOUGHTS, "stop", None),
    "SGLang, answer taken for thoughts": (*("", TEXT, "stop"), "is thoughts alone, without an answer (finish_reason 'stop')"),
    "MLX, gpt-oss with control tokens": (TEXT, THOUGHTS, "stop", None),
    "MLX, unfinished thoughts twice": ("", THOUGHTS, "length", "is thoughts alone, which used up max_new_tokens"),
    "LM Studio": (TEXT, THOUGHTS, "stop", None),
    "Together": (TEXT, THOUGHTS, "eos", None),
    "Jan": (TEXT, "", "", None),
    "Gemini": (TEXT, THOUGHTS, "STOP", None),
    "Gemini, cut": (PART, "", "MAX_TOKENS", LIMIT),
    "no finish_reason": (TEXT, "", "", None),
    "no finish_reason, all tokens used": (PART, "", "", LIMIT),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_reply_of_each_server_is_read_alike(server: SimpleNamespace, name: str) -> None:
    server.trouble["question 0"] = [(200, json.dumps(DIALECTS[name]), {})]
    for _ in range(2):  # sent, then read from the store
        (call,) = teacher(server, retries=0).answer(asks(1))
        assert call and (call.text, call.thoughts, call.finish_reason, unfinished(call)) == EXPECTED[name]
    assert len(server.seen) == 1


def test_recording_keeps_thoughts_and_the_finish_reason(server: SimpleNamespace) -> None:
    server.trouble = {f"question {n}": [(200, json.dumps(reply), {})] for n, reply in enumerate(DIALECTS.values())}
    first = teacher(server).answer(asks(len(DIALECTS)))
    records.write(Path("calls.jsonl"), [call for call in first if call])
    options = ReplayTeacher(kind="replay", path="calls.jsonl", sha256=files.file_hash(Path("calls.jsonl")))
    assert Teacher(Recording(options, RUNTIME), FREE, seed=2).answer(asks(len(DIALECTS))) == first
    assert [call and call.thoughts for call in first] == [EXPECTED[name][1] for name in DIALECTS]


def test_recording_made_before_thoughts_were_separated(server: SimpleNamespace) -> None:
    (call,) = teacher(server).answer(asks(1))
    assert call
    old = call.model_dump(exclude={"id", "finish_reason"}) | {"text": f"<think>{THOUGHTS}</think>{TEXT}"}
    records.write(Path("calls.jsonl"), [records.Call.model_validate(old)])
    options = ReplayTeacher(kind="replay", path="calls.jsonl", sha256=files.file_hash(Path("calls.jsonl")))
    (again,) = Teacher(Recording(options, RUNTIME), FREE, seed=2).answer(asks(1))
    assert again and (again.text, again.thoughts) == (TEXT, THOUGHTS)


def test_refused_request_is_recorded_as_such(server: SimpleNamespace) -> None:
    server.trouble["question 0"] = [(400, '{"error": {"message": "too long"}}', {})]
    calls = teacher(server).answer(asks(2))
    assert [call and unfinished(call) for call in calls] == ["was refused by the server", None]


@pytest.mark.parametrize(
    "content",
    [
        {"type": "text", "text": TEXT},
        [TEXT],
        [{"type": "output_text", "text": TEXT}],
        [{"type": "text", "text": {"type": "text", "text": TEXT}}],
        [{"type": "text", "text": TEXT}, {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}],
        [{"text": TEXT}, None, 3],
        [{"type": "reasoning", "reasoning": THOUGHTS}, {"type": "text", "text": TEXT}],
        [{"type": "thinking", "thinking": THOUGHTS, "signature": "x"}, {"type": "text", "text": TEXT}],
        [{"type": "reasoning", "summary": [{"type": "summary_text", "text": THOUGHTS}]}, {"type": "text", "text": TEXT}],
    ],
)
def test_content_in_parts_is_joined(server: SimpleNamespace, content: Any) -> None:
    server.trouble["question 0"] = [(200, json.dumps(completion(content)), {})]
    (call,) = teacher(server, retries=0).answer(asks(1))
    assert call and (call.text, call.thoughts) == (TEXT, THOUGHTS if "reas" in str(content) or "thin" in str(content) else "")


@pytest.mark.parametrize(
    ("message", "finish_reason", "lacks"),
    [
        ({"content": [{"type": "refusal", "refusal": "I can't."}]}, "stop", "is empty (finish_reason 'refusal')"),
        ({"content": None, "tool_calls": [{"id": "c"}]}, "tool_calls", "is empty (finish_reason 'tool_calls')"),
        ({}, "SAFETY", "is empty (finish_reason 'SAFETY')"),
        ({"content": ""}, "length", "is empty and used up max_new_tokens"),
        ({}, "MAX_TOKENS", "is empty and used up max_new_tokens"),
        ({"content": "\ufeff<think>Hm.</think>Yes."}, "stop", None),
    ],
)
def test_reply_without_a_text_names_why(
    server: SimpleNamespace, message: dict[str, Any], finish_reason: str, lacks: str | None
) -> None:
    body = {"choices": [{"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", **message}}]}
    server.trouble["question 0"] = [(200, json.dumps(body), {})]
    (call,) = teacher(server, retries=0).answer(asks(1))
    assert call and unfinished(call) == lacks and call.text == ("" if lacks else "Yes.")


CUT_OFF = """
length max_tokens MAX_TOKENS model_length max_new_tokens max_output_tokens token_limit max_time output_limit stop_limit
truncated FINISH_REASON_MAX_TOKENS model_context_window_exceeded incomplete content_filter SAFETY RECITATION PROHIBITED_CONTENT
BLOCKLIST abort cancelled error insufficient_system_resource timeout interrupted
"""
WHOLE = """
stop STOP eos eos_token EOS_TOKEN stop_sequence stop_token end_turn end_of_text endoftext COMPLETE completed done finished
FINISH_REASON_STOP
"""


@pytest.mark.parametrize("reason", CUT_OFF.split())
def test_reason_that_means_cut_off(reason: str) -> None:
    assert not ended(reason, new_tokens=3, limit=20)


@pytest.mark.parametrize("reason", WHOLE.split())
def test_reason_that_means_ended_counts_no_tokens(reason: str) -> None:
    """DeepSeek counts thoughts among the tokens of an answer, but not towards its limit."""
    assert ended(reason, new_tokens=92, limit=20)


@pytest.mark.parametrize("reason", ["", "unknown", "tool_calls", "FINISH_REASON_UNSPECIFIED", "1"])
def test_reason_without_a_known_meaning_is_decided_by_tokens(reason: str) -> None:
    assert ended(reason, new_tokens=19, limit=20) and not ended(reason, new_tokens=20, limit=20)


@pytest.mark.parametrize("reason", [None, 3, [], ["stop"], {}, {"type": None}, "x" * 10_000])
def test_finish_reason_of_any_shape_is_read(server: SimpleNamespace, reason: Any) -> None:
    server.trouble["question 0"] = [(200, json.dumps(completion("Yes.", reason)), {})]
    (call,) = teacher(server, retries=0).answer(asks(1))
    assert call and call.text == "Yes." and call.stopped and len(call.finish_reason) <= 40


CUT_WORDS = (
    "sensitive",
    "guardrail_intervened",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "blocked",
    "moderation",
    "unfinished",
    "suspended",
)


@pytest.mark.parametrize("word", CUT_WORDS)
def test_word_of_a_broken_off_answer_is_known(word: str) -> None:
    assert completions.CUT.search(word)


@pytest.mark.parametrize(
    ("content", "text"), [("Hm.\n\nYes.", "Yes."), ("Hm.", ""), ("Hm., he said.", "Hm., he said."), ("Yes.", "Yes.")]
)
def test_thoughts_that_the_content_repeats_are_no_answer(content: str, text: str) -> None:
    message = SimpleNamespace(content=content, reasoning_content="Hm.")
    body = SimpleNamespace(choices=[SimpleNamespace(message=message, finish_reason="stop")], usage=None)
    ask: Any = SimpleNamespace(sampling=SimpleNamespace(max_new_tokens=9), estimate=3)
    assert completions.reply(body, ask, str, 0).text == text

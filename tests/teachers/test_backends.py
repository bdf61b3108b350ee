"""Teachers behind a server and in a recording: errors lose no answer and end with a clear message."""

import html
import json
import multiprocessing
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from stages import files, records
from stages.errors import DataError
from stages.params import Budget, ReplayTeacher
from stages.records import Message
from stages.teachers.backends import Recording
from stages.teachers.teacher import Ask, Teacher
from tests.fixtures.serving import FREE, RUNTIME, SAMPLING, asks, completion, teacher

NO_CHOICES = json.dumps({**completion(""), "choices": []})


@pytest.mark.parametrize(
    "trouble",
    [
        (429, "{}", {"Retry-After": "1"}),
        (500, "{}", {}),
        (200, "<html>busy</html>", {}),
        (200, '{"id": "x", "choi', {}),
        (200, NO_CHOICES, {}),
        (200, "null", {}),
        ("slow", "", {}),
        ("cut", '{"id": "x"', {}),
    ],
    ids=["429", "500", "not JSON", "cut short", "empty choices", "null", "too late", "broken connection"],
)
def test_passing_errors_are_retried_and_counted(server: SimpleNamespace, trouble: Any) -> None:
    server.trouble = {"question 1": [trouble, trouble]}
    one = teacher(server)
    calls = one.answer(asks(6))
    assert [call.text for call in calls if call] == [f"re: question {i}" for i in range(6)]
    spent = one.cost().model_dump()
    assert spent.pop("teacher_seconds") >= 0
    assert spent == {
        "calls": 6,
        "asked": 6,
        "retries": 2,
        "refused": 0,
        "prompt_tokens": 42,
        "new_tokens": 18,
        "usd": round(42e-6 + 36e-6, 6),
    }
    assert len(server.seen) == 8


@pytest.mark.parametrize(
    "trouble",
    [
        (404, '{"error": {"message": "no such model"}}', {}),
        (200, NO_CHOICES, {}),
        (503, "{}", {}),
        (429, "{}", {"Retry-After": "600"}),  # longer than the client waits, so it does not repeat the request
    ],
)
def test_lasting_errors_end_the_run_and_keep_answers(server: SimpleNamespace, trouble: Any) -> None:
    server.trouble = {"question 1": [trouble] * 99}
    with pytest.raises(
        DataError, match=r"1 of 4 requests failed with teacher\.max_retries = 2 .*every answer that arrived is kept: run again"
    ):
        teacher(server, retries=2).answer(asks(8))
    server.trouble, server.seen = {}, []
    again = teacher(server)
    assert all(again.answer(asks(8)))
    assert (again.asked, len(server.seen)) == (5, 5)  # question 1 and the second wave; three answers were kept


FOR_CONTENT = (
    (400, {"error": {"message": "The response was filtered due to the prompt triggering Azure's content management policy.",
                     "code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
    (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}}),
    (403, {"error": {"code": 403, "message": "m requires moderation on x. Your input was flagged. No credits were charged."}}),
    (403, {"code": "The caller does not have permission to execute it", "error": "Content violates usage guidelines."}),
    (403, {"error": {"message": "Input tokens + max_new_tokens must be below 4097"}}),
    (403, "<html><title>Sorry, you have been blocked</title>You are unable to access this site; your account is safe</html>"),
    (403, ""),
    (403, {"error": {"message": "Your organization forbids this", "code": "content_filter"}}),
    (451, {"error": {"message": "Unavailable for legal reasons"}}),
    (200, {"choices": [], "prompt_feedback": {"block_reason": "SAFETY"}}),
    (200, {"choices": None, "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
    (200, {"choices": None, "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}),
    (200, {"choices": [{"index": 0, "finish_reason": "SAFETY"}]}),
    (200, {"choices": [{"index": 0, "finish_reason": "SAFETY", "message": None}]}),
    (200, {"error": {"message": "m requires moderation", "code": 403}}),
    (200, {"error": {"message": "blocked", "code": "content_filter"}}),
    (200, {"error": {"message": "The context is too long", "code": 400}}),
)  # fmt: skip
FOR_THE_KEY = (
    (401, {"error": {"message": "Incorrect API key provided: a."}}),
    (401, ""),
    (402, {"error": {"message": "Insufficient balance"}}),
    (403, {"error": {"type": "permission_error", "message": "Your API key does not have permission to use this model"}}),
    (403, {"error": {"message": "Key limit exceeded (total limit)"}}),
    (403, {"error": {"message": "Country, region, or territory not supported"}}),
    (403, {"error": {"message": "Your account has been suspended for violating our policies"}}),
    (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}),
    (403, {"error": {"message": "You do not have access to the model"}}),
    (403, {"Message": "User: a is not authorized to perform this action with an explicit deny in a service policy"}),
)


@pytest.mark.parametrize(("status", "body"), FOR_CONTENT)
def test_prompt_refused_for_its_content_is_counted(server: SimpleNamespace, status: int, body: Any) -> None:
    server.trouble["question 1"] = [(status, body if isinstance(body, str) else json.dumps(body), {})]
    one = teacher(server)
    calls = one.answer(asks(6))
    assert [bool(call and call.text) for call in calls] == [True, False, True, True, True, True]
    assert one.cost().refused == 1 and len(server.seen) == 6


@pytest.mark.parametrize(("status", "body"), FOR_THE_KEY)
def test_refused_key_ends_the_run_at_once(server: SimpleNamespace, status: int, body: Any) -> None:
    sent = body if isinstance(body, str) else json.dumps(body)
    server.trouble = {f"question {n}": [(status, sent, {})] for n in range(1, 40)}
    with pytest.raises(DataError, match=f"3 of 4 requests failed .*Error code: {status}"):
        teacher(server).answer(asks(40))
    assert len(server.seen) == 4


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "overloaded"}}},
         "'Provider returned error: overloaded')"),
        ({"error": {"message": "Unknown parameter: seed", "code": "x"}}, "'Unknown parameter: seed'; set teacher.omit=[seed])"),
        ("<html>content_filter</html>", "'<html>content_filter</html>')"),
        ('{"error": {"code": "content_filter"', "content_filter"),
    ],
)  # fmt: skip
def test_error_with_status_200_ends_with_its_words(server: SimpleNamespace, body: Any, words: str) -> None:
    server.trouble["question 0"] = [(200, body if isinstance(body, str) else json.dumps(body), {})] * 3
    with pytest.raises(DataError) as error:
        teacher(server, retries=2).answer(asks(1))
    assert words in str(error.value) and "no chat completion" in str(error.value) and len(server.seen) == 3


def test_broken_connection_names_its_cause(server: SimpleNamespace) -> None:
    server.trouble["question 0"] = [(200, "no gzip", {"Content-Encoding": "gzip"})]
    with pytest.raises(DataError, match=r"\(Connection error\. \(.*decompressing data"):
        teacher(server, retries=0).answer(asks(1))


def test_403_for_every_request_ends_the_run(server: SimpleNamespace) -> None:
    server.trouble = {f"question {n}": [(403, "Forbidden", {})] for n in range(100)}
    with pytest.raises(DataError, match=r"20 requests were refused and 0 answered \(Error code: 403 - Forbidden\)"):
        teacher(server).answer(asks(100))
    assert len(server.seen) == 20


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refused_request_does_not_stop_the_others(server: SimpleNamespace, status: int) -> None:
    server.trouble = {"question 1": [(status, '{"error": {"message": "too long"}}', {})] * 99}
    for _ in range(2):
        one = teacher(server)
        calls = one.answer(asks(6))
        texts = [call and (call.text, call.stopped) for call in calls[:3]]
        assert texts == [("re: question 0", True), ("", False), ("re: question 2", True)]
        assert one.cost().refused == 1
    assert len(server.seen) == 7  # only refused requests are sent again
    server.trouble = {}
    assert [call and call.text for call in teacher(server).answer(asks(6))] == [f"re: question {i}" for i in range(6)]


CONTROL = (
    *("<|im_end|>", "<|START_OF_TURN_TOKEN|>", "<|turn>", "<turn|>", "<｜User｜>", "<｜end▁of▁sentence｜>", f"<|{'a' * 50}|>"),
    *("</s>", "<<SYS>>", "<bos>", "<EOS_TOKEN>", "<sop>", "<eod>", "<unk>", "<start_of_turn>user", "<start_of_image>"),
    *("<end_of_utterance>", "<fim_prefix>", "<unused0>", "<reserved_106>", "<TOKENS_UNUSED_0>", "<extra_id_0>", "<0x0A>"),
    *("[INST] do [/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[gMASK]", "[SEP]"),
    *("<repo_name>", "<file_sep>", "<gh_stars>", "<issue_start>", "<jupyter_code>", "<empty_output>", "<tool_call>"),
    *("<start_function_call>", "<end_function_response>", "<arg_key>", "</arg_value>", "<minimax:tool_call>"),
    *("<tool_response>", "</tool_response>", "<code_start>", "<intermediate_to_code>", "<pr>", "<pr_status>", "<ctrl99>"),
    *("<|im end|>", "<|start header id|>", "<start_header_id>", "[EOT]", "[EOS_TOKEN]"),
    *("[unused7]", "[UNUSED_TOKEN_145]", "<SPECIAL_10>", "[|endofturn|]", "<_end>", "<seed:eos>", "]~b]", "]<]end of turn[>["),
)
ORDINARY = (
    "[NOTE]",
    "[FIRST_NAME]",
    "[ARGS]",
    "[IMG]",
    "<b>",
    "<think>",
    "<h1>",
    "<mask>",
    "if a<|b| or c|>d",
    "<3",
    "[|x| + 1]",
    "<_x>",
    "<|end",
    "<pre>",
    "<code>",
    "special_1",
)


@pytest.mark.parametrize("text", ORDINARY)
def test_message_with_ordinary_signs_is_sent(server: SimpleNamespace, text: str) -> None:
    (call,) = teacher(server).answer([Ask((Message(role="user", content=text),), SAMPLING)])
    assert call and call.text == f"re: {text}"


@pytest.mark.parametrize("text", CONTROL)
def test_message_with_a_control_token_is_not_sent(server: SimpleNamespace, text: str) -> None:
    hostile = Ask((Message(role="user", content=f"question {text}"),), SAMPLING)
    one = teacher(server)
    assert [call and call.text for call in one.answer([hostile, *asks(1)])] == ["", "re: question 0"]
    assert "holds the control token" in "".join(refused.reason for refused in one.refused.values())
    assert [body["messages"][-1]["content"] for body in server.seen] == ["question 0"]


def test_run_of_refusals_ends_the_run_and_keeps_answers(server: SimpleNamespace) -> None:
    limit = (400, '{"error": {"message": "billing limit"}}', {})
    server.trouble = {f"question {i}": [limit] * 99 for i in range(4, 40)}
    with pytest.raises(DataError, match=r"20 requests were refused and 4 answered .*billing limit.*run again"):
        teacher(server).answer(asks(40))
    assert len(server.seen) == 24  # the run ends before the last request
    server.trouble, server.seen = {}, []
    assert all(call and call.text for call in teacher(server).answer(asks(40)))
    assert len(server.seen) == 36


def test_all_requests_refused_ends_the_run(server: SimpleNamespace) -> None:
    refusal = [(400, '{"error": {"message": "no such option"}}', {})]
    server.trouble = {f"question {i}": list(refusal) for i in range(6)}
    with pytest.raises(DataError, match=r"6 requests were refused and 0 answered .*no such option"):
        teacher(server).answer(asks(6))
    assert all(teacher(server).answer(asks(6)))  # the server works again


@pytest.mark.parametrize(
    ("content", "usage", "expected"),
    [
        (None, {"prompt_tokens": 7, "completion_tokens": 0}, ("", 7, 0)),
        ("twelve chars", None, ("twelve chars", 2, 3)),
        ("twelve chars", {"prompt_tokens": None, "completion_tokens": 5}, ("twelve chars", 2, 5)),
        ("twelve chars", {"prompt_tokens": 7}, ("twelve chars", 7, 3)),
        ("twelve chars", "many", ("twelve chars", 2, 3)),
        ("twelve chars", {"prompt_tokens": 10**400, "completion_tokens": -(10**400)}, ("twelve chars", 2, 3)),
        ("twelve chars", {"prompt_tokens": 2**53, "completion_tokens": 2**53 - 1}, ("twelve chars", 2, 2**53 - 1)),
        ("twelve chars", {"prompt_tokens": 1e300, "completion_tokens": True}, ("twelve chars", 2, 3)),
        ("half \ud83d", {"prompt_tokens": 7, "completion_tokens": 5}, ("half ?", 7, 5)),
    ],
    ids=[
        "no content",
        "no usage",
        "null",
        "part of the usage",
        "no object",
        "400 digits",
        "a float's limit",
        "no integers",
        "lone surrogate",
    ],
)
def test_missing_token_counts_are_estimated(
    server: SimpleNamespace, content: Any, usage: Any, expected: tuple[str, int, int]
) -> None:
    body = completion(content) | {"usage": usage}
    server.trouble = {"question 0": [(200, json.dumps(body), {})]}
    for _ in range(2):  # sent, then read from the store
        (call,) = teacher(server).answer(asks(1))
        assert call and (call.text, call.prompt_tokens, call.new_tokens) == expected
    assert len(server.seen) == 1


@pytest.mark.parametrize("count", [10**400, -1, 2**53])
def test_stored_count_that_is_none_is_estimated(server: SimpleNamespace, count: int) -> None:
    one = teacher(server)
    stored = {"text": "twelve chars", "stopped": True, "prompt_tokens": count, "new_tokens": count}
    files.write_json(one.stored([asks(1)[0]]), [stored])
    (call,) = one.answer(asks(1))
    assert call and (call.prompt_tokens, call.new_tokens) == (2, 3)
    assert one.cost().usd == 8e-06 and server.seen == []


def test_the_client_waits_as_long_as_the_server_asks(server: SimpleNamespace) -> None:
    server.trouble = {"question 0": [(429, "{}", {"Retry-After": "7"}), (503, "{}", {"Retry-After": "11"})]}
    teacher(server).answer(asks(1))
    assert server.slept == [7.0, 11.0]


def test_run_after_kill_requests_only_missing_answers(server: SimpleNamespace) -> None:
    server.trouble = {"question 5": [("slow", "", {})] * 9}  # delays the second wave of four
    killed = multiprocessing.get_context("fork").Process(target=lambda: teacher(server).answer(asks(12)))
    killed.start()
    store, deadline = Path(".tunetrail/responses"), time.monotonic() + 60
    while len(list(store.glob("*.json"))) < 7 and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    killed.kill()
    killed.join()
    server.trouble, before = {}, len(server.seen)
    again = teacher(server)
    calls = again.answer(asks(12))
    assert [call.text for call in calls if call] == [f"re: question {i}" for i in range(12)]
    asked = {body["messages"][-1]["content"] for body in server.seen[before:]}
    assert asked == {"question 5", *(f"question {i}" for i in range(8, 12))}
    assert again.asked == len(server.seen) - before == 5


def test_request_carries_all_sampling_options(server: SimpleNamespace) -> None:
    teacher(server).answer(asks(1))
    (body,) = server.seen
    assert {key: body[key] for key in ("model", "temperature", "top_p", "presence_penalty", "max_tokens")} == {
        "model": "m",
        "temperature": 0.7,
        "top_p": 0.5,
        "presence_penalty": 2.0,
        "max_tokens": 20,
    }


def test_answers_keep_order_and_mark_cut_off_ones(server: SimpleNamespace) -> None:
    server.trouble = {"question 0": [(500, "{}", {})] * 2 + [(200, json.dumps(completion("long", "length")), {})]}
    calls = teacher(server).answer(asks(4))
    assert [(call.text, call.stopped) for call in calls if call][:2] == [("long", False), ("re: question 1", True)]


def test_key_is_read_from_the_environment_only(
    server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"teacher.api_key_env = MY_KEY: this environment variable is not set"):
        teacher(server, key="MY_KEY").answer(asks(1))
    monkeypatch.setenv("MY_KEY", "s3cret")
    teacher(server, key="MY_KEY").answer(asks(1))
    assert server.keys == {"Bearer s3cret"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "s3cret" in path.read_text()]


KEY = "sk-" + "0123456789abcdef" * 4
SIGNS = "sk-abc\"def/ghi+j'k\\l&m"  # a server may send it as JSON, as Python or a URL shows it
WRITTEN = {
    "as it is": SIGNS,
    "JSON": json.dumps(SIGNS)[1:-1],
    "JSON with slashes": json.dumps(SIGNS)[1:-1].replace("/", r"\/"),
    "JSON for HTML": json.dumps(SIGNS)[1:-1].replace("&", r"\u0026").replace("+", r"\u002B"),
    "JSON in JSON": json.dumps(json.dumps(SIGNS)[1:-1])[1:-1],
    "Python": repr(SIGNS)[1:-1],
    "Python of JSON": repr(json.dumps(SIGNS)[1:-1])[1:-1],
    "HTML": html.escape(SIGNS),
    "HTML of JSON": html.escape(json.dumps(SIGNS)[1:-1]),
    "HTML in numbers": "".join(f"&#{ord(sign):04};" for sign in SIGNS),
    "HTML in hexadecimal numbers": "".join(f"&#x{ord(sign):X};" for sign in SIGNS),
    "HTML with names": SIGNS.replace("&", "&AMP;").replace("/", "&sol;").replace("+", "&plus;").replace('"', "&QUOT;"),
    "URL": quote(SIGNS),
    "URL in lower case": quote(SIGNS, safe="").lower(),
    "URL in a URL": quote(quote(SIGNS, safe=""), safe=""),
    "with blanks": " ".join(SIGNS),
    "with zero-width spaces": "\u200b".join(SIGNS),
    "on two lines": f"{SIGNS[:11]}\r\n{SIGNS[11:]}",
    "JavaScript": "".join(f"\\u{{{ord(sign):x}}}" for sign in SIGNS),
    "octal": "".join(f"\\{ord(sign):03o}" for sign in SIGNS),
    "hexadecimal": SIGNS.encode().hex(),
    "hexadecimal in upper case": SIGNS.encode().hex().upper(),
    "without its end": SIGNS[:-3],
    "without its beginning": SIGNS[6:],
    "Base64 in a header": b64encode(f"Bearer {SIGNS}".encode()).decode(),
    "Base64 of user and key": b64encode(f"me:{SIGNS}".encode()).decode(),
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "no JSON: {}"),
        (200, json.dumps(completion("You sent KEY."))),
        (400, '{"error": {"message": "KEY"}}'),
        (401, '{"error": {"message": "KEY"}}'),
    ],
    ids=["no completion", "answer", "rejected", "refused"],
)
def test_key_in_any_spelling_is_masked(
    server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, body: str, written: str
) -> None:
    monkeypatch.setenv("MY_KEY", SIGNS)
    sent = body.replace("{}", written).replace("KEY", json.dumps(written)[1:-1])
    server.trouble["question 0"] = [(status, sent, {})]
    try:
        one = teacher(server, key="MY_KEY", retries=0)
        seen = repr(one.answer(asks(1))) + repr(one.refused)
    except DataError as error:
        seen = str(error)
    seen += "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "***" in seen
    encoded, hexadecimal = b64encode(SIGNS.encode()).decode(), SIGNS.encode().hex()
    assert not [
        part for part in ("sk-abc", "ghi+j", "l&m", "26m", "&#", "sol;", encoded[8:16], hexadecimal[8:16]) if part in seen
    ]


@pytest.mark.parametrize("key", ["sk-AbC:d@9=_x~YZ0123456789", "me:s3cret@example.org"])
@pytest.mark.parametrize("status", [400, 401])
def test_key_like_an_address_is_masked_before_it_is_read_as_one(
    server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, status: int, key: str
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    server.trouble["question 0"] = [(status, json.dumps({"error": {"message": f"bad {key}"}}), {})]
    with pytest.raises(DataError) as refused:
        teacher(server, key="MY_KEY", retries=0).answer(asks(1))
    assert "bad ***" in str(refused.value) and key[-8:] not in str(refused.value)


@pytest.mark.parametrize(
    "body", ['{"choices": {"0": 1}}', '{"choices": "x"}', '{"choices": [1]}', '{"choices": {}}', "[]", "3"]
)
def test_body_of_another_shape_is_no_traceback(server: SimpleNamespace, body: str) -> None:
    server.trouble["question 0"] = [(200, body, {})]
    with pytest.raises(DataError, match="the server sent no chat completion"):
        teacher(server, retries=0).answer(asks(1))


@pytest.mark.parametrize("key", ["sk-s3cret\n", "sk-s3cret\x1b", "sk-s3cr\u00e9t"])
def test_key_that_no_header_can_hold_is_not_shown(server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(DataError, match=r"teacher\.api_key_env = MY_KEY: .* letters that no key has$"):
        teacher(server, key="MY_KEY").answer(asks(1))


@pytest.mark.parametrize(
    "trouble",
    [
        (401, json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}}), {}),
        (400, json.dumps({"error": {"message": f"{KEY} may not ask this"}}), {}),
        (200, "x" * 60 + KEY, {}),  # an error cuts this body in the middle of the key
        (200, json.dumps(completion(f"You sent {KEY}.")), {}),
    ],
    ids=["refused", "rejected", "not a completion", "answer"],
)
def test_a_key_that_a_server_sends_back_is_stored_nowhere(
    server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any, trouble: Any
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    server.trouble["question 0"] = [trouble] * 2
    written = ""
    try:
        exchanges = teacher(server, key="MY_KEY", retries=0).answer(asks(1))
        written += repr(exchanges)
    except DataError as error:
        written += str(error)
    written += "".join(capsys.readouterr())
    written += "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "***" in written
    assert KEY[:16] not in written


@pytest.mark.parametrize("status", [200, 400, 401])
def test_piece_of_a_key_in_an_error_is_masked(server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    key = "sk-proj-Qm7vXw2LpRt9ZbKc4"
    monkeypatch.setenv("MY_KEY", key)
    pieces = f"{key[:9]}...{key[-7:]}", key[8:14], f"***{key[-6:]}", f"{key[:12]}****"
    server.trouble["question 0"] = [(status, json.dumps({"error": {"message": f"bad keys: {' '.join(pieces)}"}}), {})]
    with pytest.raises(DataError) as error:
        teacher(server, key="MY_KEY", retries=0).answer(asks(1))
    shown = str(error.value)
    assert "***" in shown and not [key[start : start + 6] for start in range(len(key) - 5) if key[start : start + 6] in shown]


def test_word_that_a_placeholder_key_holds_stays_in_answers(server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "lm-studio")
    server.trouble["question 0"] = [(200, json.dumps(completion("A studio flat.")), {})]
    (call,) = teacher(server, key="MY_KEY").answer(asks(1))
    assert call and call.text == "A studio flat."


@pytest.fixture
def elsewhere() -> Iterator[SimpleNamespace]:
    """Serve on another port of loopback; `keys` are those that arrived."""
    state = SimpleNamespace(keys=[])

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.keys.append(self.headers["Authorization"])
            content = json.dumps(completion("elsewhere")).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    state.port = listening.server_port
    yield state
    listening.shutdown()
    listening.server_close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_redirect_to_another_address_gets_no_key(
    status: int, host: str, server: SimpleNamespace, elsewhere: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    location = f"http://{host}:{elsewhere.port}/v1/chat/completions"
    server.trouble["question 0"] = [(status, "", {"Location": location})]
    teacher(server, key="MY_KEY").answer(asks(1))
    assert server.keys == {f"Bearer {KEY}"} and elsewhere.keys == [None]


def test_a_redirect_to_another_name_of_the_host_gets_no_key(server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    location = server.url.replace("127.0.0.1", "localhost") + "/chat/completions"
    server.trouble["question 0"] = [(307, "", {"Location": location})]
    teacher(server, key="MY_KEY").answer(asks(1))
    assert server.keys == {f"Bearer {KEY}", None}


def test_missing_server_gives_one_clear_line(server: SimpleNamespace) -> None:
    gone = SimpleNamespace(url="http://127.0.0.1:9/v1")
    with pytest.raises(DataError, match=r"teacher.base_url = http://127.0.0.1:9/v1: 2 of 2 requests failed"):
        teacher(gone, retries=1).answer(asks(2))


def test_a_budget_of_calls_is_never_overstepped(server: SimpleNamespace) -> None:
    one = teacher(server, Budget(max_calls=5, max_tokens=None, max_usd=None))
    assert sum(call is not None for call in one.answer(asks(8))) == len(server.seen) == 5


def test_recording_counts_missing_answers(server: SimpleNamespace) -> None:
    first = teacher(server).answer(asks(5))
    path = Path("calls.jsonl")
    records.write(path, [call for call in first if call])
    options = ReplayTeacher(kind="replay", path=str(path), sha256=files.file_hash(path))
    assert Teacher(Recording(options, RUNTIME), FREE, seed=2).answer(asks(5)) == first
    with pytest.raises(DataError, match=r"teacher.path = calls.jsonl: 2 of the \d requests of this step"):
        Teacher(Recording(options, RUNTIME), FREE, seed=2).answer(asks(7))
    path.write_text(path.read_text() + "\n".join(path.read_text().splitlines()[:1]) + "\n")
    with pytest.raises(DataError, match=r"teacher.sha256: calls.jsonl has sha256 [0-9a-f]{64}, expected"):
        Recording(options, RUNTIME)


def test_recorded_count_that_is_none_is_refused(tmp_path: Path) -> None:
    call = records.Call(messages=(), request="r", text="t", stopped=True, prompt_tokens=1, new_tokens=1)
    path = tmp_path / "calls.jsonl"
    path.write_text(call.model_dump_json(exclude={"id"}).replace('"new_tokens":1', f'"new_tokens":{10**400}'))
    with pytest.raises(DataError, match=r"calls\.jsonl:1: new_tokens: Input should be less than 9007199254740992"):
        Recording(ReplayTeacher(kind="replay", path=str(path), sha256="0" * 64), RUNTIME)


def test_two_runs_at_once_send_each_request_once(server: SimpleNamespace) -> None:
    both, start = [teacher(server), teacher(server)], threading.Barrier(2)
    answered: dict[int, list[str]] = {}

    def run(number: int) -> None:
        start.wait()
        answered[number] = [call.text for call in both[number].answer(asks(8)) if call]

    running = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert answered[0] == answered[1] == [f"re: question {i}" for i in range(8)]
    assert len(server.seen) == both[0].asked + both[1].asked == 8
    assert not list(Path(".tunetrail/responses").glob(".*"))


def test_first_stored_answer_counts_for_all_runs(server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    one = teacher(server)
    real = one.backend.ask

    def ask(units: Any, *rest: Any) -> None:  # another run, whose waves differ, shares the second request
        reply = {"text": "first", "stopped": True, "prompt_tokens": 1, "new_tokens": 1}
        files.write_json(one.stored(units[1]), [reply])
        real(units, *rest)

    monkeypatch.setattr(one.backend, "ask", ask)
    assert [call.text for call in one.answer(asks(3)) if call] == ["re: question 0", "first", "re: question 2"]

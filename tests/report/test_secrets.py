"""The key of a teacher's server is in nothing that a run writes or prints, even if the server sends it back."""

import base64
import html
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from stages import records
from stages.fetch import authored
from stages.params import compose

KEY = 'sk-pr0j/"Q&x+=\\' + "0123456789abcdef"
PART = 12  # characters at either end of the key that must not remain where a text was cut
LETTER = "My parcel with the number {} never came, and your driver blames {}. When do I get my money back?"


def spellings(key: str) -> set[str]:
    """Return the key and its ends as text, JSON, Python, HTML, a URL and base64 may show them."""
    plain = {key, key[:PART], key[-PART:]}
    shown = {write(text) for text in plain for write in (_json, _slashes, _python, html.escape, quote, _url, quote_plus)}
    raw = key.encode()
    return plain | shown | {base64.b64encode(b" " * before + raw).decode()[2 + before : -4] for before in range(3)}


def _json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _slashes(text: str) -> str:
    return _json(text).replace("/", "\\/")


def _python(text: str) -> str:
    return repr(text)[1:-1]


def _url(text: str) -> str:
    return quote(text, safe="")


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    """Serve on loopback and send the key back: in every header, in answers, in errors; `down` refuses all requests."""
    state = SimpleNamespace(count=0, keys=set(), down=False)
    lock = threading.Lock()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                state.count += 1
                number = state.count
            authorization = self.headers["Authorization"]
            state.keys.add(authorization)
            key = authorization.removeprefix("Bearer ")
            error = json.dumps({"error": {"message": f"Incorrect key {key}", "code": key}})
            answers = [
                (200, completion(LETTER.format(number, "me"))),
                (200, completion(LETTER.format(number, key))),
                (200, completion(key)),
                (200, completion(f'{{"name": {json.dumps(key)}}}')),
                (400, error),
                (422, f"<p>{html.escape(key)}</p>"),
                (429, error),
                (200, f"no completion: {key} {quote(key)}"),
            ]
            status, content = (401, error) if state.down else answers[number % len(answers)]
            self.send_response(status, key)
            for name in ("X-Request-Id", "WWW-Authenticate", "OpenAI-Organization", "Set-Cookie"):
                self.send_header(name, f"key={key}")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content.encode())))
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: Any) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    state.url = f"http://127.0.0.1:{listening.server_port}/v1"
    yield state
    listening.shutdown()
    listening.server_close()


def completion(text: str) -> str:
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    return json.dumps({"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": choices})


def test_key_is_in_nothing_that_a_run_leaves(inputs: Any, run: Any, server: Any, warm: Any, capfd: Any) -> None:
    teacher = ("teacher=openai", "teacher.model=m", "teacher.api_key_env=MY_KEY", f"teacher.base_url={server.url}")
    limits = ("teacher.max_retries=6", "synthesis.self_instruct.calls=24", "synthesis.self_instruct.rows=8")
    compose.compose(["experiment=complaints", *teacher, *limits], inputs.root / "params.yaml")
    bodies, layouts = authored.documents(compose.ROOT / "data/authored/complaints", "train")
    for name, rows in {"seeds": [*bodies, *layouts], "pool": [], "documents": [], "facts": []}.items():
        records.write(inputs.root / f"data/raw/{name}.jsonl", rows)

    def synthesize() -> Any:
        return warm(inputs.root, "-m", "stages.synthesize", "self_instruct", MY_KEY=KEY, NO_PROXY="127.0.0.1")

    server.down = True
    refused = synthesize()
    server.down = False
    done = synthesize()
    folder = run(inputs)

    printed = "".join((refused.stdout, refused.stderr, done.stdout, done.stderr, *capfd.readouterr()))
    written = {path: path.read_bytes().decode(errors="replace") for path in inputs.root.rglob("*") if path.is_file()}
    leaks = {(place, text) for text in spellings(KEY) for place, content in written.items() if text in content}
    assert (refused.returncode, done.returncode, server.keys) == (1, 0, {f"Bearer {KEY}"}), printed
    assert not leaks and not [text for text in spellings(KEY) if text in printed]
    masked = {path.relative_to(inputs.root).parts[0] for path, content in written.items() if "***" in content}
    assert masked >= {".tunetrail", "data", "reports"} and "***" in (folder / "index.html").read_text()
    assert "Incorrect key ***" in refused.stderr and "requests were refused" in done.stderr


def test_every_spelling_of_a_key_is_searched_for() -> None:
    header = base64.b64encode(f"Bearer {KEY}".encode()).decode()
    for text in (KEY, json.dumps(KEY), repr(KEY), html.escape(KEY), quote(KEY), header, KEY[:PART], KEY[-PART:]):
        assert any(spelling in text for spelling in spellings(KEY)), text

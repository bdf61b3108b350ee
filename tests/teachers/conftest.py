"""A fake server with OpenAI's chat completions."""

import functools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpcore2
import pytest

from tests.fixtures.serving import TIMEOUT, completion

certificates = functools.cache(httpcore2.default_ssl_context)  # each client reads them for 25 ms; none is used here


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Serve on loopback; `trouble` lists its first answers to each question: status, body, headers.

    Status "slow" is an answer that comes too late, "cut" one whose connection breaks in the middle; `slept` is how long the
    client waited before each retry.
    """
    state = SimpleNamespace(trouble={}, seen=[], keys=set(), slept=[])

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = body["messages"][-1]["content"]
            state.seen.append(body)
            state.keys.add(self.headers["Authorization"])
            troubles = state.trouble.get(question, [])
            status, content, headers = troubles.pop(0) if troubles else (200, json.dumps(completion(f"re: {question}")), {})
            if status == "slow":
                threading.Event().wait(2 * TIMEOUT)
                self.close_connection = True
                return
            cut = status == "cut"
            status = 200 if cut else status
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content.encode()) + 100 * cut))
            self.end_headers()
            self.close_connection = cut
            self.wfile.write(content.encode())

        def log_message(self, *_: Any) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    state.url = f"http://127.0.0.1:{listening.server_port}/v1"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(httpcore2, "default_ssl_context", certificates)
    monkeypatch.setattr("time.sleep", state.slept.append)  # back-off of the client and of this package
    yield state
    listening.shutdown()
    listening.server_close()

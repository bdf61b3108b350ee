"""Measure how much of the ideal concurrency requests reach: a stand-in server answers each after a fixed delay.

    python bench/engine.py [rows, 96 by default] [concurrency, 8] [delay in seconds, 3]

Ideal is that `concurrency` requests are always under way: ceil(rows / concurrency) delays. Prints the share of it that the
predictions of `engine=openai` reach (stages/served), and that of `teacher=openai` in synthesis (stages/teachers). The server
runs in a process of its own. Importing the client is not counted. The share falls with the delay, since a request costs some
milliseconds of this process, and on a busy machine. Exits with an error below 90 %.
"""

import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection as Pipe
from typing import Any

import openai  # noqa: F401

from stages.params import Budget, Connection, OpenAITeacher, Price, Sampling
from stages.records import Message
from stages.served.server import Server
from stages.teachers.server import OpenAI
from stages.teachers.teacher import Ask, Backend, Teacher

LEAST = 0.9
UNUSED: Any = None  # a server's client needs no device


def serve(delay: float, pipe: "Pipe[int, int]") -> None:
    message = {"role": "assistant", "content": "yes"}
    reply: dict[str, Any] = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
    reply |= {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
    reply |= {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept, as those of real servers

        def do_GET(self) -> None:
            self._send({"data": [{"id": "m"}]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(delay)
            self._send(reply)

        def _send(self, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    pipe.send(listening.server_port)
    listening.serve_forever()


def reached(backend: Backend, asks: list[Ask], ideal: float) -> float:
    teacher = Teacher(backend, Budget(max_calls=None, max_tokens=None, max_usd=None), seed=0)
    started = time.monotonic()
    assert len(teacher.answer(asks)) == len(asks)
    return ideal / (time.monotonic() - started)


def main() -> None:
    rows, concurrency = (int(sys.argv[n]) if len(sys.argv) > n else default for n, default in ((1, 96), (2, 8)))
    delay = float(sys.argv[3]) if len(sys.argv) > 3 else 3.0
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(delay, theirs), daemon=True)
    server.start()
    options: dict[str, Any] = {"base_url": f"http://127.0.0.1:{ours.recv()}/v1", "api_key_env": None, "timeout_seconds": 60}
    options |= {"concurrency": concurrency, "max_retries": 0, "limit_field": "max_tokens", "omit": []}
    sampling = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_new_tokens=8)
    asks = [Ask((Message(role="user", content=f"question {row}"),), sampling) for row in range(rows)]
    begun = time.process_time()
    ideal, found = math.ceil(rows / concurrency) * delay, {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"DVC_ROOT": folder, "NO_PROXY": "127.0.0.1"}
        priced = options | {"price": Price(usd_per_million_input=0.0, usd_per_million_output=0.0)}
        found["predictions"] = reached(Server(Connection(**options), "m", "", UNUSED), asks, ideal)
        found["synthesis"] = reached(OpenAI(OpenAITeacher(kind="openai", model="m", **priced), UNUSED), asks, ideal)
    server.terminate()
    spent = 1000 * (time.process_time() - begun) / (2 * rows)
    print(f"{rows} rows, {concurrency} requests at a time, {delay} s each: at best {ideal:.1f} s")
    print(f"{spent:.0f} ms of CPU per request")
    for name, share in found.items():
        print(f"{name:12} {share:6.1%} of the ideal concurrency")
    if min(found.values()) < LEAST:
        sys.exit(f"error: below {LEAST:.0%}")


if __name__ == "__main__":
    main()

"""A data set of the hub, from a stand-in on this machine: read at its commit, pinned, and one line where it cannot be had."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stages import compose, records
from stages.records import Task

COMMIT = "a" * 40
ROWS = [{"question": f"Question {n}?", "options": {"A": "x", "B": "y"}, "answer_idx": "B"} for n in range(40)]
ROWS += [{"question": "With a third option?", "options": {"A": "x", "B": "y", "C": "z"}, "answer_idx": "C"}]
FILES = {
    "README.md": b"---\nlicense: mit\n---\n",
    "train.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "test.jsonl": json.dumps(ROWS[0]).encode() + b"\n",
    "loading.py": b"raise SystemExit('ran remote code')",
}


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A hub with the one data set acme/questions, whose branch main is COMMIT."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def do_GET(self, body: bool = True) -> None:
            status, content, headers = found(urlsplit(self.path).path.strip("/").split("/"))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    def found(parts: list[str]) -> tuple[int, bytes, dict[str, str]]:
        match parts:
            case ["api", "datasets", "acme", "questions", "revision", "main"]:
                siblings = [{"rfilename": name} for name in FILES]
                return 200, json.dumps({"id": "acme/questions", "sha": COMMIT, "siblings": siblings}).encode(), {}
            case ["api", "datasets", "acme", "questions", "tree", commit] if commit == COMMIT:
                tree = [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in FILES.items()
                ]
                return 200, json.dumps(tree).encode(), {}
            case ["datasets", "acme", "questions", "resolve", commit, name] if commit == COMMIT:
                etag = hashlib.sha1(FILES[name]).hexdigest()
                return 200, FILES[name], {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
        return 404, b"", {"X-Error-Code": "RepoNotFound"}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetched(endpoint: str, root: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    """The fetch stage of the medqa experiment in an empty folder, with a tiny model and a hub at `endpoint`."""
    compose.compose(["experiment=medqa", "model=random", "data.hub.repo=acme/questions", *overrides], root / "params.yaml")
    (root / "data").mkdir()
    (root / "data/authored").symlink_to(compose.ROOT / "data/authored")
    environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(root / "home"), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    environment |= {"PYTHONPATH": str(compose.ROOT), "TUNETRAIL_CACHE": str(root / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "stages.fetch"]
    return subprocess.run(command, cwd=root, env={**os.environ, **environment}, capture_output=True, text=True)


def the_line(run: "subprocess.CompletedProcess[str]") -> str:
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr, run.stderr
    (line,) = [line for line in run.stderr.splitlines() if "error: " in line]
    return line


@pytest.mark.model
def test_a_split_is_read_at_the_commit_of_its_branch_which_is_kept_and_no_code_is_downloaded(
    endpoint: str, tmp_path: Path
) -> None:
    run = fetched(endpoint, tmp_path, "data.valid=0.2", "data.test=0.2")
    assert run.returncode == 0, run.stderr
    pinned = json.loads((tmp_path / "data/raw/hub.json").read_text(encoding="utf-8"))
    assert pinned == {"repo": "acme/questions", "revision": COMMIT, "split": "train"}
    tasks = [task for split in ("train", "valid", "test") for task in records.read(tmp_path / f"data/raw/{split}.jsonl", Task)]
    assert len({task.source for task in tasks}) == len(ROWS)
    assert [task for task in tasks if len(task.choices) == 3] == [task for task in tasks if "third" in task.input]
    assert list((tmp_path / "home").rglob("train.jsonl"))
    assert list((tmp_path / "home").rglob("*.py")) == []


def test_a_split_that_is_not_there_ends_with_one_line(endpoint: str, tmp_path: Path) -> None:
    line = the_line(fetched(endpoint, tmp_path, "data.hub.split=validation"))
    assert "data.hub.split = validation: cannot be read from acme/questions" in line


def test_a_repository_that_is_not_there_ends_with_one_line(endpoint: str, tmp_path: Path) -> None:
    line = the_line(fetched(endpoint, tmp_path, "data.hub.repo=acme/other"))
    assert "data.hub.repo = acme/other at main: cannot be fetched" in line


def test_an_unreachable_hub_ends_with_one_line_that_says_what_runs_without_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused, and nobody else gets the port
        line = the_line(fetched(f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path))
    assert "data.hub.repo = acme/questions at main: cannot be fetched" in line
    assert "data.hub=null" in line
    assert "model=smollm2" in line
    assert "data/authored/medqa/questions.jsonl" in line

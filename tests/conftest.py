"""What tests of several stages share: a stand-in for the model hub."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

Reply = tuple[int, bytes, dict[str, str]]


class Hub:
    """One repository of the Hugging Face hub, served on this machine.

    `commits` are its files by commit; `main` is the commit of its branch, which may move, and `asked` every path so far.
    """

    def __init__(self, kind: str, name: str, commits: dict[str, dict[str, bytes]]) -> None:
        self.kind, self.name, self.commits, self.main = kind, name, commits, next(iter(commits))
        self.asked: list[str] = []
        hub = self

        class Answer(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET(body=False)

            def do_GET(self, body: bool = True) -> None:
                path = urlsplit(self.path).path
                hub.asked.append(path)
                status, content, headers = hub.reply(path.strip("/"))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reply(self, path: str) -> Reply:
        api, files = f"api/{self.kind}/{self.name}/", f"{'datasets/' * (self.kind == 'datasets')}{self.name}/resolve/"
        what, _, commit = path.removeprefix(api).partition("/")
        if path.startswith(f"{api}revision/"):
            commit = self.main if commit == "main" else commit
            siblings = [{"rfilename": name} for name in self.commits[commit]]
            return 200, json.dumps({"id": self.name, "sha": commit, "siblings": siblings}).encode(), {}
        if what == "tree" and commit in self.commits:
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.commits[commit].items()
            ]
            return 200, json.dumps(tree).encode(), {}
        if path.startswith(files):
            commit, _, name = path.removeprefix(files).partition("/")
            content = self.commits[commit][name]
            return 200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": commit}
        return 404, b"", {"X-Error-Code": "RepoNotFound"}


@pytest.fixture
def reach() -> Callable[..., dict[str, str]]:
    """Variables with which a process finds the hub at a URL and keeps everything in a folder."""

    def variables(url: str, folder: Path, offline: str = "0") -> dict[str, str]:
        return {
            "HF_ENDPOINT": url,
            "HF_HUB_OFFLINE": offline,
            "HF_HOME": str(folder / "home"),
            "NO_PROXY": "127.0.0.1",
            "TUNETRAIL_CACHE": str(folder / "cache"),
        }

    return variables


@pytest.fixture
def hub_of() -> Iterator[Callable[..., Hub]]:
    """Makes hubs that are gone after the test."""
    made: list[Hub] = []

    def make(kind: str, name: str, commits: dict[str, dict[str, bytes]]) -> Hub:
        made.append(Hub(kind, name, commits))
        return made[-1]

    yield make
    for hub in made:
        hub.server.shutdown()
        hub.server.server_close()

"""predict_served: a server answers the split; its troubles lose no row, and what it cannot do is refused."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages import figures, params, records, stage
from stages.errors import DataError
from stages.figures.answers import Agreement
from stages.figures.engine import ServedCost
from stages.models.tuned import open_system
from stages.params import Connection, compose
from stages.predict import __main__ as predict
from stages.predict import answers
from stages.records import Example, Message, Prediction
from stages.served import __main__ as served
from stages.served import rows
from stages.served.server import Server
from tests.fixtures.serving import RUNTIME, TIMEOUT
from tests.fixtures.tiny_model import chat_row

VLLM = {"/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}, {"id": "tuned_42", "owned_by": "vllm"}]}}
VLLM |= {"/version": {"version": "0.11.0"}}


def connection(server: SimpleNamespace, **changed: Any) -> Connection:
    options = {"base_url": server.url, "api_key_env": None, "concurrency": 4, "timeout_seconds": TIMEOUT}
    return Connection(**options | {"max_retries": 3, "limit_field": "max_tokens", "omit": []} | changed)


def answered(server: SimpleNamespace, examples: list[Example], weights: str = "w", **changed: Any) -> list[str]:
    asks = rows.requests(examples, {"": []}, 9)
    calls, _ = rows.answer(Server(connection(server, **changed), "m", weights, RUNTIME), asks)
    return [row.text for row in rows.predictions("base_0shot", examples, calls)]


@pytest.fixture
def examples() -> list[Example]:
    return [chat_row(f"question {i}", "answer") for i in range(6)]


@pytest.mark.model
def test_server_stands_in_for_transformers(server, room, adapter, monkeypatch):
    settings = ("quantization=none", "predict.shots=[0]", "predict.constrain=none", "predict.likelihood_rows=0")
    settings += ("predict.agreement_rows=0", "report.headline=stop_rate")
    monkeypatch.chdir(room(*settings))
    shutil.copytree(adapter, "models/42/adapter")
    test = [chat_row(f"Is {i} even?", "no" if i % 2 else "yes") for i in range(4)]
    records.write(Path("data/formatted/test.jsonl"), test)
    server.pages = VLLM
    asked = ("engine=openai", "engine.models.base=m", f"engine.server.base_url={server.url}")
    for system in ("base_0shot", "tuned_42"):
        path = Path(f"data/predictions/{system}.jsonl")
        compose.compose(["experiment=smoke", "runtime.threads=1", *settings], Path("params.yaml"))
        monkeypatch.setattr(sys, "argv", ["predict", system])
        predict.main()
        here = list(records.read(path, Prediction))
        texts = {example.prompt[-1].content: row.text for example, row in zip(test, here, strict=True)}
        server.say = texts.__getitem__
        compose.compose(["experiment=smoke", "runtime.threads=1", *settings, *asked], Path("params.yaml"))
        served.main()
        there = list(records.read(path, Prediction))
        assert [(row.example, row.text) for row in there] == [(row.example, row.text) for row in here]
        assert all(row.reference_logprob is None for row in there)
        agreed = figures.read(Path(f"data/agreement/{system}.json"), Agreement)
        assert agreed == answers.agreement(open_system(params.runtime(), system), test, here, "none")
        cost = figures.read(Path(f"data/cost/predict_{system}.json"), ServedCost)
        assert (cost.engine.name, cost.engine.model, cost.asked) == ("vllm 0.11.0", server.seen[-1]["model"], 4)
    sent = server.seen[-1]
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("tuned_42", 0.0, 8)
    assert len(server.seen) == 8


@pytest.mark.model
def test_other_model_on_the_server_is_noticed(server, room, monkeypatch, capsys):
    asked = ("engine=openai", "engine.models.base=m", f"engine.server.base_url={server.url}", "predict.shots=[0]")
    monkeypatch.chdir(room(*asked, "predict.constrain=none", "report.headline=stop_rate"))
    records.write(Path("data/formatted/test.jsonl"), [chat_row("Is 1 even?", "no")])
    server.pages = VLLM
    monkeypatch.setattr(sys, "argv", ["served", "base_0shot"])
    served.main()
    assert "engine.models: m may be another model than base_0shot" in capsys.readouterr().err


def test_troubles_lose_and_repeat_no_row(server, examples):
    server.pages = VLLM
    server.trouble = {
        "question 1": [(429, "{}", {"Retry-After": "1"})],
        "question 2": [(500, "{}", {})],
        "question 3": [("cut", '{"id": "x"', {})],
    }
    assert answered(server, examples) == [f"re: question {i}" for i in range(6)]
    assert len(server.seen) == 9


def test_broken_run_asks_only_for_what_is_missing(server, examples):
    server.pages, server.trouble = VLLM, {"question 4": [(503, "{}", {})] * 9}
    with pytest.raises(DataError, match=r"^engine\.server\.base_url = .*: 1 of 6 requests failed .*: run again$"):
        answered(server, examples, max_retries=1)
    server.trouble, server.seen = {}, []
    assert answered(server, examples) == [f"re: question {i}" for i in range(6)]
    assert len(server.seen) == 1
    assert answered(server, examples, base_url=f"{server.url}/") and len(server.seen) == 1  # the key has no address
    assert answered(server, examples, weights="trained again") and len(server.seen) == 7


def test_examples_are_sent_as_turns(examples):
    shots = [Message(role="user", content="q"), Message(role="assistant", content="a")]
    (ask,) = rows.requests([chat_row("which?", "this", system="Answer.")], {"": shots}, 9)
    assert [(m.role, m.content) for m in ask.messages] == [
        ("system", "Answer."),
        ("user", "q"),
        ("assistant", "a"),
        ("user", "which?"),
    ]
    assert ask.sampling.temperature == 0


@pytest.mark.parametrize(
    ("pages", "changed", "line"),
    [
        ({"/v1/models": {"data": [{"id": "other"}]}}, {}, r"^engine\.models: http\S+ has no model m; it has other; serve"),
        ({"/v1/models": []}, {}, r"^engine\.server\.base_url = \S+: /models is not a list of models"),
        (VLLM, {"api_key_env": "NO_KEY"}, r"^engine\.server\.api_key_env = NO_KEY: this environment variable is not set$"),
        (VLLM, {"base_url": "http://127.0.0.1:9/v1"}, r"^engine\.server\.base_url = \S+: Connection error"),
    ],
    ids=["unknown model", "no list", "no key", "refused connection"],
)
def test_unreachable_engine_is_one_line(server, examples, pages, changed, line):
    server.pages = pages
    with pytest.raises(DataError, match=line) as caught:
        answered(server, examples, **changed)
    assert "\n" not in str(caught.value)


def test_rows_that_no_server_can_answer_are_refused(server, examples):
    one = examples[0]
    tools = (one.messages[0].model_copy(update={"tools": "[]"}), one.messages[1])
    changes: dict[str, dict[str, Any]] = {"choices": {"choices": ("a", "b")}, "prompt has tools": {"messages": tools}}
    for words, change in changes.items():
        with pytest.raises(DataError, match=words):
            rows.requests([one.model_copy(update=change)], {"": []}, 9)
    server.pages = VLLM
    with pytest.raises(DataError, match=r"^engine: 1 of 2 rows were refused \(not sent: .*<\|im_end\|>"):
        answered(server, [one, chat_row("a <|im_end|> b", "c")])


def test_stage_without_a_server_ends_with_one_line(room, monkeypatch):
    monkeypatch.chdir(room())
    monkeypatch.setattr(sys, "argv", ["served", "base_0shot"])
    with pytest.raises(SystemExit, match=r"^error: engine\.kind = transformers: no server answers; set engine=openai$"):
        stage.run(served.main)


@pytest.mark.parametrize(
    ("pages", "name"),
    [
        ({"/v1/models": {"data": [{"id": "m", "owned_by": "llamacpp"}]}, "/props": {"build_info": "b7000"}}, "llama.cpp b7000"),
        ({"/v1/models": {"data": []}, "/api/version": {"version": "0.5\n|x"}}, "ollama 0.5 |x"),
        ({"/v1/models": {"data": [{"id": "m"}]}}, "an unknown server"),
        ({}, "an unknown server"),
    ],
)
def test_engine_is_what_the_server_states(server, pages, name):
    server.pages = json.loads(json.dumps(pages))
    assert Server(connection(server), "m", "w", RUNTIME).engine.name == name

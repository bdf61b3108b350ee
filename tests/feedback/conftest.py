"""Run the stage feedback in an empty folder, on a file of rows and a log."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages import files, params, records
from stages.feedback.__main__ import main
from stages.feedback.records import Answer, Logged
from stages.params import Feedback, compose
from stages.records import Message, Task

CONF = compose.ROOT / "conf/feedback/none.yaml"
TEXT = SimpleNamespace(kind="rows", task="text", system="Be brief.")


def settings(**fields: Any) -> Feedback:
    """Return the section feedback with other values."""
    return Feedback.model_validate(files.read_yaml(CONF.read_bytes(), str(CONF)) | fields)


def answer(question: str = "Where is Ulm?", text: str = "In Rio.", system: str = "tuned_42", **fields: Any) -> Answer:
    messages = (Message(role="system", content="Be brief."), Message(role="user", content=question))
    return Answer(system=system, weights="ab12cd34ef56ab12", messages=messages, text=text, **fields)


def logged(found: Answer) -> str:
    values = {"prediction_id": found.id, "at": "2026-11-30T08:00:00+00:00", "input": found.messages, "output": found.text}
    kept = found.model_dump(include={"system", "weights", "stopped", "choices"})
    return Logged.model_validate(values | kept).model_dump_json(exclude_defaults=True)


def task(question: str, output: str = "In Peru.", **fields: Any) -> Task:
    return Task(**{"kind": "text", "system": "Be brief.", "input": question, "output": output, "source": "s"} | fields)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that runs the stage and returns its funnel."""
    monkeypatch.chdir(tmp_path)

    def make(
        rows: str | Sequence[Mapping[str, Any]],
        *log: Answer,
        name: str = "feedback.jsonl",
        data: Any = TEXT,
        train: Sequence[Task] = (),
        test: Sequence[Task] = (),
        constrain: str = "none",
        **fields: Any,
    ) -> dict[str, Any]:
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        Path(name).write_text(text, encoding="utf-8")
        Path("log.jsonl").write_text("".join(f"{logged(one)}\n" for one in log), encoding="utf-8")
        for split, tasks in (("train", train), ("valid", ()), ("test", test)):
            records.write(Path("data/raw") / f"{split}.jsonl", tasks)
        p = SimpleNamespace(
            data=data,
            format=SimpleNamespace(overlap_ngram=10),
            predict=SimpleNamespace(constrain=constrain),
            feedback=settings(path=name, log="log.jsonl", **fields),
        )
        monkeypatch.setattr(params, "read", lambda *sections: p)
        main()
        return dict(files.read_json(Path("data/feedback/funnel.json")))

    return make


def read(name: str, model: Any) -> list[Any]:
    return list(records.read(Path("data/feedback") / f"{name}.jsonl", model))

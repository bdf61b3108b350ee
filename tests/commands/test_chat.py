"""tunetrail chat: a line is a question; each system answers as `tunetrail predict` does and keeps its own history."""

import io
import json
import shutil
from pathlib import Path

import pytest

from stages import files
from stages.commands import chat
from stages.commands.predict import command as predict
from stages.errors import DataError
from stages.feedback import reading
from stages.text import chat as rendering

pytestmark = pytest.mark.model


@pytest.fixture
def repository(room, adapter, monkeypatch) -> Path:
    root = room("predict.max_new_tokens=4")
    shutil.copytree(adapter, root / "models/42/adapter")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def asked(monkeypatch, capsys):
    """Return a function that chats on standard input and returns both outputs."""

    def run(given: str, *systems: str, log: str = "log.jsonl") -> tuple[str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        capsys.readouterr()
        chat.chat(systems, Path(log), "none")
        return tuple(capsys.readouterr())

    return run


def logged(path: str = "log.jsonl") -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_answers_equal_those_of_predict(repository, asked):
    out, _ = asked("Where is Ulm?\n")
    files.write_text(repository / "in.txt", "Where is Ulm?\n")
    predict.answer("in.txt", "out.jsonl", ["base_0shot", "tuned"], constrain="none")
    (row,) = logged("out.jsonl")
    rows = logged()
    assert {name: row[name]["prediction"] for name in ("base_0shot", "tuned")} == dict(
        zip(("base_0shot", "tuned"), (r["output"] for r in rows), strict=True)
    )
    assert [row["system"] for row in rows] == ["base_0shot", "tuned_42"]
    assert [line.partition(":")[0] for line in out.splitlines()] == ["base_0shot", "tuned"]
    assert rows[0]["output"] != rows[1]["output"]


def test_each_system_keeps_its_own_turns_until_new(repository, asked):
    asked("one\n\ntwo\n /new \nthree\n/quit\nfour\n")
    rows = logged()
    turns = [[message["content"] for message in row["input"] if message["role"] != "system"] for row in rows]
    assert turns[:2] == [["one"], ["one"]] and turns[4:] == [["three"], ["three"]]
    assert turns[2:4] == [["one", row["output"], "two"] for row in rows[:2]]
    assert len({row["prediction_id"] for row in rows}) == 6
    assert set(reading.log(Path("log.jsonl"))) == {row["prediction_id"] for row in rows}  # as the stage feedback reads it


def test_log_is_continued_after_a_cut_line(repository, asked):
    Path("log.jsonl").write_text('{"prediction_id": "a', encoding="utf-8")
    asked("one\n", "tuned")
    lines = Path("log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["system"] for line in lines] == ["tuned_42"]


def test_a_file_that_is_no_log_stays_as_it_is(repository, asked):
    Path("notes.jsonl").write_text("first\nsecond", encoding="utf-8")
    with pytest.raises(DataError, match=r"--log notes\.jsonl: its last line has no end and is not of a log"):
        asked("one\n", "tuned", log="notes.jsonl")
    with pytest.raises(DataError, match=r"--log notes\.txt: must end in \.jsonl"):
        asked("one\n", "tuned", log="notes.txt")
    assert Path("notes.jsonl").read_text(encoding="utf-8") == "first\nsecond"


def test_control_token_in_a_question_stays_text(repository, asked, monkeypatch, tokenizer):
    prompts, real = [], rendering.prompt_ids
    monkeypatch.setattr(rendering, "prompt_ids", lambda *given: prompts.append(real(*given)) or prompts[-1])
    asked("x<|im_end|>\nplain\n", "tuned")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    turns = [sum(message["role"] in ("system", "user", "assistant") for message in row["input"]) for row in logged()]
    assert [prompt.count(end) for prompt in prompts] == turns
    assert "<|im_end|>" in logged()[0]["input"][-1]["content"]


def test_chat_that_is_too_long_is_refused_and_new_helps(repository, asked):
    _, err = asked(f"short\n{'long ' * 2000}\nshort\n", "tuned")
    assert err.count("begin again with /new") == 1 and "tuned: " in err
    assert [len(row["input"]) for row in logged()] == sorted(len(row["input"]) for row in logged()) and len(logged()) == 2


def test_without_adapter_only_the_base_answers(repository, asked):
    shutil.rmtree("models/42")
    _, err = asked("one\n")
    assert "models/42/adapter: no adapter, so only the untuned model answers; train one with `dvc repro`\n" in err
    assert [row["system"] for row in logged()] == ["base_0shot"]
    with pytest.raises(DataError, match=r"^--system tuned_42: models/42/adapter does not exist; train it"):
        asked("one\n", "tuned")


def test_interruption_ends_the_chat_quietly(repository, asked, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(chat.Log, "add", interrupted)
    assert asked("one\ntwo\n", "tuned")[0] == "\n"


def test_log_that_cannot_be_written_is_refused_first(repository, asked):
    with pytest.raises(DataError, match=r"^--log nowhere/log\.jsonl: cannot write: No such file"):
        asked("one\n", log="nowhere/log.jsonl")
    with pytest.raises(DataError, match=r"^models: not a regular file"):
        asked("one\n", log="models")


def test_terminal_shows_answers_side_by_side_as_plain_text(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    chat._show({"base_0shot": "[bold]a\x1b[2J", "tuned": "b"})
    header, _, answers, *_ = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert header.index("base_0shot") < header.index("tuned")
    assert answers.split() == ["[bold]a\\x1b[2J", "b"]


def test_terminal_asks_until_end_of_input(monkeypatch, capsys):
    given = iter(["one", "  ", "two"])

    def typed(_):
        for line in given:
            return line
        raise EOFError

    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert list(chat._lines()) == ["one", "two"]
    assert capsys.readouterr().out == f"{chat.HELP}\n\n"

"""tunetrail predict --log: each answer with the id that feedback names, once, also after an interruption."""

import json
from collections import Counter
from pathlib import Path

import pytest

from stages import files
from stages.errors import DataError
from stages.feedback import reading
from stages.generation import decoding
from tests.commands.predict.test_command import BATCH, TEXTS, answer, greedy, lines_to, rows_of, tuned

pytestmark = pytest.mark.model
__all__ = ["greedy", "tuned"]


def without_times(path: str) -> list[dict]:
    return [row | {"at": ""} for row in rows_of(path)]


def test_log_holds_each_answer_under_its_id(tuned) -> None:
    answer(lines_to("texts.txt", *TEXTS), "out.jsonl", ["base_0shot", "tuned"], log=Path("log.jsonl"))
    log, logged = reading.log(Path("log.jsonl")), rows_of("log.jsonl")
    given = [row[name] for row in rows_of("out.jsonl") for name in ("base_0shot", "tuned")]
    assert [row["prediction_id"] for row in given] == [row["prediction_id"] for row in logged]
    assert [log[row["prediction_id"]].text for row in given] == [row["prediction"] for row in given]
    assert [log[row["prediction_id"]].messages[-1].content for row in logged[::2]] == TEXTS
    assert {row["system"] for row in logged} == {"base_0shot", "tuned_42"}
    assert len({row["weights"] for row in logged}) == 2
    assert all(row["at"].endswith("+00:00") for row in logged)


def test_ids_are_those_of_an_earlier_call(tuned) -> None:
    for name in ("one", "two"):
        answer(lines_to("texts.txt", *TEXTS[:3]), f"{name}.csv", ["tuned"], log=Path(f"{name}.log.jsonl"))
    assert without_times("one.log.jsonl") == without_times("two.log.jsonl")
    assert Path("one.csv").read_text() == Path("two.csv").read_text()
    answer("texts.txt", "plain.csv", ["tuned"])
    assert "prediction_id" not in Path("plain.csv").read_text()


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost"])
def test_resumed_log_equals_uninterrupted(tuned, greedy, lost) -> None:
    source, calls = lines_to("texts.txt", *TEXTS), ("whole", "out")
    greedy.update(allowed=99)
    answer(source, "whole.jsonl", ["tuned"], log=Path("whole.log.jsonl"))
    greedy.clear()
    greedy.update(allowed=1)
    with pytest.raises(KeyboardInterrupt):
        answer(source, "out.jsonl", ["tuned"], log=Path("out.log.jsonl"))
    (part,) = Path().glob(".out.log.jsonl.*.part")
    assert len(part.read_bytes().splitlines()) == BATCH
    part.write_bytes(b"") if lost else files.write_text(part, part.read_text() + '{"a killed": "batch"}\n{"hal')
    greedy.clear()
    greedy.update(allowed=99)
    answer(source, "out.jsonl", ["tuned"], log=Path("out.log.jsonl"))
    assert greedy["rows"] == len(TEXTS) - (0 if lost else BATCH)
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    assert without_times("out.log.jsonl") == without_times("whole.log.jsonl")
    assert list(Path().glob(".*.part")) == [] and len(calls) == 2


def test_standard_output_is_logged_too(tuned, capsys) -> None:
    answer(lines_to("texts.txt", *TEXTS[:2]), "-", ["tuned"], log=Path("logs/log.jsonl"))
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prediction_id"] for row in printed] == [row["prediction_id"] for row in rows_of("logs/log.jsonl")]
    answer(lines_to("texts.txt", ""), "none.jsonl", ["tuned"], log=Path("logs/log.jsonl"))
    assert Path("logs/log.jsonl").read_bytes() == b""


def test_half_a_pair_of_an_answer_is_logged(tuned, monkeypatch) -> None:
    completion = decoding.Completion("\ud800 \x1b[2J", True, 1)
    monkeypatch.setattr(decoding, "greedy", lambda lm, batch, limit: [completion] * len(batch))
    answer(lines_to("texts.txt", "Hi"), "out.jsonl", ["tuned"], log=Path("log.jsonl"))
    assert [one.text for one in reading.log(Path("log.jsonl")).values()] == ["? \x1b[2J"]
    assert "\x1b" not in Path("log.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("log.csv", r"--log log\.csv: must end in \.jsonl"),
        ("out.jsonl", r"--log out\.jsonl: is the file of --input or --output"),
        ("data", r"data: not a regular file"),
    ],
)
def test_place_that_cannot_hold_a_log_is_refused(tuned, log, reason) -> None:
    with pytest.raises(DataError, match=f"^{reason}"):
        answer(lines_to("texts.txt", *TEXTS), "out.jsonl", ["tuned"], log=Path(log))
    assert not Counter(Path().glob("*out.jsonl*"))


def test_column_for_the_id_is_reserved(tuned) -> None:
    lines_to("in.csv", "input,prediction_id", "a,b")
    with pytest.raises(DataError, match=r"in\.csv:2: a column 'prediction_id', which the output has for answers"):
        answer("in.csv", "out.jsonl", ["tuned"], log=Path("log.jsonl"))

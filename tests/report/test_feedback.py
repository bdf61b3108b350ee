"""What the report shows of feedback: shares with intervals by system and slice, hostile names, and nothing without any."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages import records
from stages.feedback.records import Answer, Feedback
from stages.records import Message
from stages.report import feedback
from tests.report.conftest import HOSTILE, html

ANSWERS = [
    Answer(system=system, weights=weights, messages=(Message(role="user", content="Q"),), text="A")
    for system, weights in (("tuned", "a" * 16), ("tuned", "b" * 16), ("", ""))
]


def vote_of(answer: int, number: int, **fields: str) -> Feedback:
    return Feedback.model_validate({"place": f"f:{number}", "parents": (ANSWERS[answer].id,), **fields})


ROWS = [
    *(vote_of(0, i, vote="up" if i % 4 else "down", user=f"u{i // 2}", slice="web" if i < 10 else "") for i in range(40)),
    vote_of(1, 50, vote="down", user="u1"),
    vote_of(2, 60, correction="B", slice=HOSTILE),
]


def written(inputs: Any) -> None:
    folder = inputs.root / "data/feedback"
    records.write(folder / "answers.jsonl", ANSWERS)
    records.write(folder / "feedback.jsonl", ROWS)
    counts = {"rows": 44, "joined": 42, "answers": 3, "tasks": 1, "pairs": 1, "votes": 1}
    inputs.json("data/feedback/funnel.json", {**counts, "left_out": {"unknown id": 2}, "dropped": {"conflicting": 1}})


def test_trainings_of_one_system_are_counted_apart() -> None:
    found = feedback.systems(ROWS, {answer.id: answer for answer in ANSWERS})
    assert [(one.system, one.slice, one.up and one.up.n, one.corrections) for one in found] == [
        ("tuned aaaaaaaa", "", 40, 0),
        ("tuned aaaaaaaa", "web", 10, 0),
        ("tuned bbbbbbbb", "", 1, 0),
        ("unknown", "", None, 1),
        ("unknown", HOSTILE, None, 1),
    ]
    assert found[0].up and (found[0].up.mean, found[0].up.clusters) == (0.75, 20)


def test_votes_of_one_user_are_one_cluster() -> None:
    answers = {answer.id: answer for answer in ANSWERS}
    alike = [vote_of(0, i, vote="up" if i < 20 else "down", user=f"u{i // 10}") for i in range(40)]
    apart = [one.model_copy(update={"user": ""}) for one in alike]
    widths = [one.up.high - one.up.low for rows in (alike, apart) if (one := feedback.systems(rows, answers)[0]).up]
    assert widths[0] > 1.5 * widths[1]


def test_pages_show_feedback_by_system_and_slice(inputs: Any, run: Any) -> None:
    written(inputs)
    folder: Path = run(inputs)
    report, page = (folder / "report.md").read_text(encoding="utf-8"), html(folder)
    assert "Of 44 rows, 42 belong to 3 known answers; left out: 2 unknown id." in report
    assert "Made of them: training rows 1, pairs 1, votes 1; dropped: 1 conflicting." in report
    assert "| tuned aaaaaaaa | all | 75.0" in report and "| tuned aaaaaaaa | web |" in report
    assert '<section id="feedback"' in page and '<th scope="row">tuned aaaaaaaa</th><td>web</td>' in page
    assert "<script>document.title" not in page and "<script>" not in report
    details = json.loads((folder / "details.json").read_text(encoding="utf-8"))
    assert details["feedback"]["tuned aaaaaaaa"].keys() == {"up", "up_lo", "up_hi", "n", "users", "corrections"}
    assert details["feedback"]["unknown"] == {"corrections": 1}


def test_slices_are_left_out_if_report_texts_is_false(inputs: Any, run: Any) -> None:
    written(inputs)
    inputs.params.report.texts = False
    folder = run(inputs)
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert "| tuned aaaaaaaa | all |" in report
    assert "| web |" not in report + html(folder) and "<td>web</td>" not in html(folder)


@pytest.mark.parametrize("name", ["report.md", "index.html", "details.json"])
def test_report_without_feedback_does_not_mention_it(inputs: Any, run: Any, name: str) -> None:
    assert "eedback" not in (run(inputs) / name).read_text(encoding="utf-8")

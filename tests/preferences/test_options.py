"""Values of the section preference that are refused, each with one line."""

import pytest
from pydantic import ValidationError

from stages.errors import DataError
from stages.params import Params, ReplayTeacher, check, compose


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"samples": 1}, "samples = 1: a pair needs two answers to a prompt; use 2 or more"),
        ({"samples": 1, "sources": ["file", "judge"]}, "samples = 1: a pair needs two answers"),
        ({"sources": ["none", "file"]}, "sources: none stands alone; leave it out"),
        ({"sources": ["file", "file"]}, "sources must not repeat"),
    ],
)
def test_section_that_can_make_no_pair_is_refused(settings, fields, message) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**fields)


def test_file_needs_no_samples(settings) -> None:
    assert settings(samples=1, sources=["file"]).samples == 1


def test_recording_cannot_judge_new_samples(settings) -> None:
    teacher = ReplayTeacher(kind="replay", path="calls.jsonl", sha256="0" * 64)
    (refused,) = Params.model_construct(preference=settings(sources=["judge"]), teacher=teacher)._pairs()
    assert refused.startswith("preference.sources: judge with teacher.kind = replay: a recording holds no verdicts")
    assert Params.model_construct(preference=settings(), teacher=teacher)._pairs() == []


def test_feedback_needs_a_file_and_one_data_set() -> None:
    def composed(*overrides: str) -> Params:
        return check(compose.composed(*overrides))

    with pytest.raises(DataError, match=r"preference\.sources: feedback needs feedback\.path"):
        composed("preference=feedback")
    with pytest.raises(DataError, match=r"feedback\.path with data\.kind = mix: a correction does not tell which data set"):
        composed("data=several_tasks", "synthesis=none", "report.headline=stop_rate", "feedback.path=data/own/f.csv")
    assert composed("preference=feedback", "feedback.path=data/own/f.csv").feedback.wanted

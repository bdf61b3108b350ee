"""Values of the section preference that are refused, each with one line."""

import pytest
from pydantic import ValidationError

from stages.params import Params, ReplayTeacher


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

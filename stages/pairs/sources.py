"""Make pairs from each source: files and sheets first, which cost nothing, then the tuned model, then the teacher."""

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.errors import DataError
from stages.figures.cost import TeacherCost
from stages.figures.preferences import Judged, Rated
from stages.models.manifest import read_manifest
from stages.models.tuned import open_tuned
from stages.params import Budget, Preference, Runtime
from stages.params import Teacher as TeacherOptions
from stages.preferences import feedback, file, judge, people, sampling, verifier
from stages.preferences.made import Made
from stages.preferences.records import Sample
from stages.records import Call, Example
from stages.teachers.answers import incomplete
from stages.teachers.backends import backend
from stages.teachers.teacher import Teacher
from stages.terminal import visible

FEEDBACK = Path("data/feedback")


@dataclass
class Found:
    """What each source made, in the order of preference.sources, and what the files and figures of the stage need besides.

    `rated_answers` are the samples that people rated; an earlier model may have written them. `earlier_seconds` of the
    `sampling_seconds` are those of earlier runs, whose samples were stored.
    """

    made: dict[str, Made]
    samples: list[Sample] = field(default_factory=list)
    no_prompts: dict[str, int] = field(default_factory=dict)
    sampling_seconds: float = 0.0
    earlier_seconds: float = 0.0
    calls: list[Call] = field(default_factory=list)
    judged: Judged | None = None
    teacher_cost: TeacherCost | None = None
    rated: Rated | None = None
    rated_answers: list[Sample] = field(default_factory=list)


def find(
    settings: Preference,
    examples: Sequence[Example],
    kept_apart: Iterable[Example],
    adapter: Path,
    teacher: TeacherOptions,
    budget: Budget,
    runtime: Runtime,
    seed: int,
) -> Found:
    """Return the pairs and votes of each source; the adapter is that of the seed's tuned model.

    `examples` are the training rows, `kept_apart` those of validation and test.
    """
    found = Found({name: Made() for name in settings.sources})
    if "file" in found.made:
        found.made["file"] = file.made(Path(settings.file), kept_apart)
    if "feedback" in found.made:
        found.made["feedback"] = feedback.made(FEEDBACK)
    if "people" in found.made:
        found.made["people"], found.rated, found.rated_answers = people.made(Path(settings.sheets), examples, settings.margin)
    prompts: list[Example] = []
    if {"verifier", "judge"} & found.made.keys():
        prompts, found.no_prompts = sampling.drawn(examples, settings.prompts, seed)
        if not prompts:
            reasons = ", ".join(f"{count} {reason}" for reason, count in found.no_prompts.items())
            raise DataError(f"preference: no training row can be sampled ({reasons or 'there are none'}); use other data")
        prompts = prompts[: settings.sampled]
        started = time.monotonic()
        lm, identity = open_tuned(runtime, adapter), sampling.identity(adapter, read_manifest(), runtime)
        answers, found.earlier_seconds = sampling.sampled(lm, prompts, settings, seed, identity)
        found.samples = verifier.scored(prompts, answers)
        found.sampling_seconds = found.earlier_seconds + time.monotonic() - started
        del lm  # a local teacher loads a model of its own
    if "verifier" in found.made:
        found.made["verifier"] = verifier.made(prompts, found.samples, settings.margin, settings.reference)
    if "judge" in found.made:
        asked = Teacher(backend(teacher, runtime), budget, seed)
        most = settings.judge
        found.made["judge"], found.judged = judge.made(prompts, found.samples, asked, most.prompts, most.max_new_tokens)
        found.calls, found.teacher_cost = asked.calls, asked.cost()
        if asked.spent:
            print(f"judge: stopped by {asked.spent}", file=sys.stderr)
        if lost := incomplete(asked.calls):
            print(visible(f"warning: judge: {lost}"), file=sys.stderr)
    return found

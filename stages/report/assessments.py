"""What a model, people and benchmarks found about this run, where somebody kept it, and whether it was this run's answers."""

import sys
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import ValidationError

from stages import files
from stages.errors import DataError
from stages.figures import assessments
from stages.figures.assessments import Assessment, Benchmarks, Judge, Ratings
from stages.models.manifest import MANIFEST
from stages.pages import one_line
from stages.records import first_problem
from stages.report.evidence import Evidence
from stages.terminal import visible

KINDS: dict[str, tuple[type[Assessment], str]] = {
    "judge": (Judge, "tunetrail judge"),
    "ratings": (Ratings, "tunetrail rate"),
    "benchmarks": (Benchmarks, "tunetrail benchmark"),
}


class Kept(NamedTuple):
    """An assessment with its file and the command that makes it; `others` are its inputs that are not those of this run."""

    found: Assessment
    path: str
    command: str
    others: list[str]


def read(name: str, evidence: Evidence) -> dict[str, Kept]:
    """Return the assessments of an experiment by kind; print a warning for one that was made for other answers.

    The numbers are shown all the same: people and teachers cost too much to be asked again after every training.
    """
    current = _current(evidence)
    kept = {}
    for kind, (model, command) in KINDS.items():
        path = assessments.path_of(name, kind)
        if not path.exists():
            continue
        try:
            found = model.model_validate_json(path.read_bytes())
        except ValidationError as error:
            problem = one_line(first_problem(error))
            raise DataError(f"{path}: {problem}; make it again with `{command}`, or delete it") from None
        kept[kind] = Kept(found, str(path), command, _others(found.inputs, current))
        if others := kept[kind].others:
            why = f"its {one_line(others[0])} is not that of this run"
            print(visible(f"warning: {path} was made for other answers: {why}"), file=sys.stderr)
    return kept


def _current(evidence: Evidence) -> dict[str, str]:
    """Return the md5 of the files of this run that an assessment may have read."""
    answers = dict(zip(assessments.answers_of(evidence.hashes), evidence.hashes.values(), strict=True))
    splits = {f"data/formatted/{split}.jsonl": md5 for split, md5 in evidence.data.items()}
    return {**answers, **splits, str(MANIFEST): files.file_hash(MANIFEST, "md5")}


def _others(inputs: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    """Return the inputs that differ from this run's; adapters are known by their answers, and sheets only to their owners."""
    ours = [file for file in inputs if file.startswith("data/") or file == str(MANIFEST)]
    return [file for file in ours if inputs[file] != current.get(file)]

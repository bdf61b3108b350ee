"""The log of `tunetrail predict --log`: every answer with its id, so that feedback on it can be joined later.

A batch is logged before its rows are written, so an interrupted run never has an answer that the log lacks. The log becomes
a file of its own name once all answers are there.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from stages.commands.predict import answers
from stages.commands.predict.answers import Given
from stages.errors import DataError
from stages.feedback.records import Answer, Logged
from stages.files import printable, require_regular
from stages.records import Task
from stages.text.prompts import question


def require_place(path: Path, source: str, target: str) -> None:
    """Raise DataError unless a log may be written there."""
    require_regular(path)
    if path.suffix.lower() != ".jsonl":
        raise DataError(f"--log {path}: must end in .jsonl")
    if any(name != "-" and path.resolve() == Path(name).resolve() for name in (source, target)):
        raise DataError(f"--log {path}: is the file of --input or --output, which it would replace; name another")


class Log:
    """A log in the making; `systems` are the system and the hash of its weights, by the name that the user gave.

    Each row of the output has `answers` lines in it.
    """

    def __init__(self, target: Path, fingerprint: str, systems: Mapping[str, tuple[str, str]], answers: int) -> None:
        self._target, self._systems, self._answers = target, systems, answers
        self._part = target.with_name(f".{target.name}.{fingerprint}.part")
        self._file: IO[str] | None = None

    def keep(self, rows: int) -> bool:
        """Cut the log of an interrupted run to these rows, and return whether it has them all."""
        lines = rows * self._answers
        return answers.whole_batches(self._part, lines, most=lines) == lines if lines else self.discard()

    def add(self, batch: Sequence[tuple[Task, Mapping[str, Given]]]) -> None:
        """Log the answers to a batch of tasks, by system, and add the id of each to its columns."""
        if not self._file:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("a", encoding="utf-8", newline="\n")
        at = now()
        for task, given in batch:
            for name, one in given.items():
                system, weights = self._systems[name]
                answer = Answer(
                    system=system,
                    weights=weights,
                    messages=question(task),
                    choices=task.choices,
                    text=printable(one.columns[answers.PREDICTION]),
                    stopped=one.stopped,
                )
                one.columns[answers.ID] = answer.id
                self._file.write(line(answer, at))
        self._file.flush()

    def finish(self) -> None:
        """Make the log a file of its own name; without any answer it is empty."""
        if self._file:
            self._file.close()
        else:
            self._part.touch()
        self._part.replace(self._target)

    def discard(self) -> bool:
        self._part.unlink(missing_ok=True)
        return True


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def line(answer: Answer, at: str) -> str:
    """Return the line of an answer that was given then."""
    logged = Logged(
        prediction_id=answer.id,
        at=at,
        system=answer.system,
        weights=answer.weights,
        input=answer.messages,
        output=answer.text,
        stopped=answer.stopped,
        choices=answer.choices,
    )
    return answers.line(logged.model_dump(exclude_defaults=True))

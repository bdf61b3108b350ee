"""A recorded calls.jsonl as a teacher."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.errors import DataError
from stages.files import file_hash
from stages.params import ReplayTeacher, Runtime
from stages.records import Call, content_hash, read
from stages.teachers.teacher import Ask, Keep, Reply, Unit

ANSWER = {"text", "stopped", "prompt_tokens", "new_tokens", "thoughts", "finish_reason"}


class Recording:
    """A recorded calls.jsonl; the parameters hold its sha256, so that another recording is another run."""

    def __init__(self, options: ReplayTeacher, runtime: Runtime) -> None:
        path = self.path = Path(options.path)
        recorded = {call.request: call for call in read(path, Call)}
        if (seen := file_hash(path)) != options.sha256:
            raise DataError(f"teacher.sha256: {path} has sha256 {seen}, expected {options.sha256}")
        self.identity = {"recording": options.sha256}
        self.code: Sequence[str] = ()
        self.recorded = recorded

    def waves(self, asks: Sequence[Ask]) -> Iterator[list[Unit]]:
        yield [[ask] for ask in asks]

    def ask(self, units: Sequence[Unit], seeds: Sequence[int], keep: Keep) -> None:
        found = [self.recorded.get(content_hash(unit[0].request)) for unit in units]
        if missing := found.count(None):
            raise DataError(
                f"teacher.path = {self.path}: {missing} of the {len(units)} requests of this step are not recorded; "
                "record them with teacher=local or teacher=openai, or undo the change of the prompts. If a budget ended the "
                f"recording, set synthesis.budget.max_calls={len(self.recorded)}"
            )
        for number, call in enumerate(found):
            assert call is not None
            keep(number, [Reply(**call.model_dump(include=ANSWER))])

    def usd(self, prompt_tokens: int, new_tokens: int) -> float:
        return 0.0

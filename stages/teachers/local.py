"""A teacher on this machine: the base model or another one, which answers in batches."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from stages import fingerprint
from stages.models import sources
from stages.models.manifest import read_manifest
from stages.params import LocalTeacher, Runtime
from stages.records import content_hash
from stages.teachers.teacher import Ask, Keep, Reply, Unit
from stages.text import chat

if TYPE_CHECKING:
    from stages.models.loading import LanguageModel

CODE = ("generation", "models", "text", "teachers/local.py")  # which decides an answer


class Local:
    """A transformers model, the base or another. Sampled texts depend on their batch, so the batch is the unit.

    The requests in a batch decide where it ends (content-defined chunking, as in rsync and backup tools). A changed document
    moves only the next few borders; later batches keep their answers.
    """

    def __init__(self, options: LocalTeacher, runtime: Runtime) -> None:
        self.options, self.runtime = options, runtime
        self.manifest = sources.fetch(options.model) if options.model else read_manifest()
        self.identity = {"model": self.manifest.model_dump(), "runtime": runtime.model_dump()}
        self.code = fingerprint.code(*CODE)
        self.loaded: LanguageModel | None = None

    def waves(self, asks: Sequence[Ask]) -> Iterator[list[Unit]]:
        batch: list[Ask] = []
        for ask in asks:
            if batch and ask.sampling != batch[-1].sampling:
                yield [batch]
                batch = []
            batch.append(ask)
            is_border = int(content_hash(ask.request)[:8], 16) % self.options.batch_size == 0
            if len(batch) == self.options.batch_size or (is_border and len(batch) >= self.options.batch_size // 2):
                yield [batch]
                batch = []
        if batch:
            yield [batch]

    def ask(self, units: Sequence[Unit], seeds: Sequence[int], keep: Keep) -> None:
        from stages.generation.sampling import sample
        from stages.models.loading import open_base

        lm = self.loaded = self.loaded or open_base(self.runtime, self.manifest)
        for number, (unit, seed) in enumerate(zip(units, seeds, strict=True)):
            prompts = [chat.prompt_ids(lm.tokenizer, ask.messages) for ask in unit]
            started = time.monotonic()
            answers = sample(lm, prompts, unit[0].sampling, seed)
            seconds = round((time.monotonic() - started) / len(unit), 3)
            counted = zip(prompts, answers, strict=True)
            keep(number, [Reply(**asdict(a), prompt_tokens=len(prompt), seconds=seconds) for prompt, a in counted])

    def usd(self, prompt_tokens: int, new_tokens: int) -> float:
        return 0.0

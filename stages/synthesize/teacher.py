"""Teachers answer prompts; each answer is stored by its request's hash and never asked for twice.

The local one asks the base model in batches. A batch, in plan order with its own seed, is the unit that is stored, since
sampled texts differ between batches. Stored answers live outside the outputs and survive a kill or a change of filters.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import track

from stages import chat, generate, models, provenance
from stages.params import LocalTeacher, Runtime
from stages.records import Call, Message, content_hash, write_text


@dataclass
class Local:
    """The base model of this experiment as teacher; `calls` are all it answered, `asked` counts those not read from store."""

    options: LocalTeacher
    manifest: models.Manifest
    runtime: Runtime
    calls: list[Call] = field(default_factory=list)
    asked: int = 0
    _loaded: Any = None

    def answer(self, requests: Sequence[Sequence[Message]], seed: int) -> list[Call]:
        """One call a request, in order."""
        size = self.options.batch_size
        starts = range(0, len(requests), size)
        fresh = [
            call for start in track(starts, "teacher") for call in self._batch(requests[start : start + size], [seed, start])
        ]
        self.calls += fresh
        return fresh

    def cost(self) -> dict[str, int]:
        return {
            "calls": len(self.calls),
            "asked": self.asked,
            "prompt_tokens": sum(call.prompt_tokens for call in self.calls),
            "new_tokens": sum(call.new_tokens for call in self.calls),
        }

    def _batch(self, batch: Sequence[Sequence[Message]], seed: list[int]) -> list[Call]:
        request = {
            "model": self.manifest.model_dump(),
            "messages": [[message.model_dump() for message in messages] for messages in batch],
            "sampling": self.options.sampling.model_dump(),
            "seed": seed,
            "runtime": self.runtime.model_dump(),
        }
        key = content_hash(request)
        stored = Path(os.environ.get("DVC_ROOT", ".")) / ".tunetrail" / "responses" / f"{key}.json"
        if not stored.is_file():
            write_text(stored, json.dumps(self._generate(batch, int(key[:8], 16)), ensure_ascii=False))
            self.asked += len(batch)
        answers = json.loads(stored.read_text(encoding="utf-8"))
        return [Call(messages=tuple(messages), **answer) for messages, answer in zip(batch, answers, strict=True)]

    def _generate(self, batch: Sequence[Sequence[Message]], seed: int) -> list[dict[str, Any]]:
        if self._loaded is None:
            provenance.prepare(self.runtime)
            weights = models.ensure(self.manifest)
            self._loaded = models.load_tokenizer(weights), models.load_base(weights, provenance.device(self.runtime))
        tokenizer, model = self._loaded
        prompts = [chat.prompt_ids(tokenizer, messages) for messages in batch]
        answers = generate.sample(model, tokenizer, prompts, self.options.sampling, seed)
        return [{**asdict(a), "prompt_tokens": len(p)} for p, a in zip(prompts, answers, strict=True)]


TEACHERS = {"local": Local}

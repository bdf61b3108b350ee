"""Sample several answers of a model to training prompts; a killed run repeats at most one batch.

A finished batch is stored outside the outputs, under the hash of everything that decides it. A run with another margin or
another source of pairs therefore samples nothing again.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel
from rich.progress import track

from stages import fingerprint, locks
from stages.errors import DataError
from stages.files import file_hash, write_text
from stages.generation.decoding import Completion
from stages.generation.sampling import sample
from stages.models.loading import LanguageModel
from stages.models.manifest import Manifest
from stages.params import Preference, Runtime
from stages.preferences.records import Sample
from stages.records import Example, content_hash
from stages.text import chat

CODE = ("generation", "models", "text", "preferences/sampling.py")  # whose code decides a sample


class Batch(BaseModel):
    """Stored answers, and how many seconds they took."""

    seconds: float
    answers: list[Completion]


def no_prompt(example: Example) -> str:
    """Return why a training row is not sampled, "" if it is.

    The answer is compared as plain text, so rows whose right answer has thoughts or calls of tools are left out.
    """
    *before, answer = example.messages
    if not example.parents and example.source.startswith("general-"):  # as stages/replay writes them
        return "replayed"
    if not before:
        return "no question"
    if answer.role != "assistant" or not answer.trained:
        return "no answer to learn"
    return "thoughts or tools" if answer.reasoning or answer.tool_calls else ""


def drawn(examples: Sequence[Example], count: int, seed: int) -> tuple[list[Example], dict[str, int]]:
    """Return up to `count` rows with different prompts, drawn by the seed, and how many rows cannot be sampled, by reason."""
    reasons: Counter[str] = Counter()
    by_prompt: dict[str, Example] = {}
    for example in examples:
        reason = no_prompt(example)
        if not reason and by_prompt.setdefault(_key(example), example) is not example:
            reason = "prompt again"
        reasons[reason] += 1
    possible = list(by_prompt.values())
    return random.Random(seed).sample(possible, min(count, len(possible))), {r: n for r, n in reasons.items() if r}


def _key(example: Example) -> str:
    return content_hash([message.model_dump() for message in example.prompt])


def identity(adapter: Path, manifest: Manifest, runtime: Runtime) -> str:
    """Return the hash of what decides a tuned model's samples besides the prompts: its files, its base, runtime and code."""
    stored = [file_hash(path) for path in sorted(adapter.rglob("*")) if path.is_file()]
    return content_hash([manifest.model_dump(), runtime.model_dump(), stored, fingerprint.code(*CODE)])


def sampled(
    lm: LanguageModel, examples: Sequence[Example], settings: Preference, seed: int, identity: str
) -> tuple[list[Sample], float]:
    """Return `settings.samples` answers to the prompt of each example, without scores, in the order of the examples.

    The second value is the time in seconds that earlier runs spent on those of them that were stored.

    Answers are sampled in batches of prompts of similar length. A batch has its own seed, drawn from its content and `seed`.
    `identity` names the model and is part of the key of stored batches.
    """
    prompts = [chat.prompt_ids(lm.tokenizer, example.prompt) for example in examples]
    _require_room(lm, examples, prompts, settings.sampling.max_new_tokens)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), examples[i].id))
    rows = [(i, number) for i in order for number in range(settings.samples)]
    found: dict[tuple[int, int], Completion] = {}
    earlier = 0.0
    for batch in track([rows[at : at + settings.batch_size] for at in range(0, len(rows), settings.batch_size)], "samples"):
        asked = [(prompts[i], number) for i, number in batch]
        content = content_hash([settings.sampling.model_dump(), seed, asked])
        answers, seconds = _stored(lm, [prompt for prompt, _ in asked], settings, content, content_hash([identity, content]))
        found.update(zip(batch, answers, strict=True))
        earlier += seconds
    samples = [
        Sample(example=example.id, number=number, parents=(example.id,), **asdict(found[i, number]))
        for i, example in enumerate(examples)
        for number in range(settings.samples)
    ]
    return samples, earlier


def _require_room(lm: LanguageModel, examples: Sequence[Example], prompts: Sequence[list[int]], limit: int) -> None:
    """Raise DataError if a prompt leaves no room for `limit` tokens."""
    if not (most := lm.tokenizer.positions) or lm.encoder_decoder:
        return
    for example, prompt in zip(examples, prompts, strict=True):
        if len(prompt) + limit > most:
            raise DataError(
                f"preference.sampling.max_new_tokens = {limit}: the prompt of {example.id} has {len(prompt)} tokens, and the "
                f"model reads {most} (max_position_embeddings), prompt and answer together; lower it"
            )


def _stored(
    lm: LanguageModel, prompts: Sequence[list[int]], settings: Preference, content: str, key: str
) -> tuple[list[Completion], float]:
    """Return the answers to these prompts; if an earlier run has stored them, also the seconds that they took it, else 0.

    The hash `content` is their seed. It does not depend on code, so that an edit elsewhere does not change the samples.
    """
    path = Path(os.environ.get("DVC_ROOT", ".")) / ".tunetrail" / "samples" / f"{key}.json"
    spent_now = 0.0
    if not path.is_file():
        with locks.exclusive(path, wait=True):
            if not path.is_file():
                started = time.monotonic()
                answers = sample(lm, prompts, settings.sampling, int(content[:8], 16))
                spent_now = time.monotonic() - started
                write_text(path, Batch(seconds=spent_now, answers=answers).model_dump_json())
    try:
        batch = Batch.model_validate_json(path.read_bytes())
        return [answer for _, answer in zip(prompts, batch.answers, strict=True)], batch.seconds - spent_now
    except ValueError:  # not JSON, or not one answer to each prompt
        raise DataError(f"{path}: damaged samples; delete this file and run again") from None

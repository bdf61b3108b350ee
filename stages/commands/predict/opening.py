"""Open the systems that `tunetrail predict` asks: how each writes prompts and answers them in batches."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stages import params
from stages.commands.predict import named
from stages.errors import DataError
from stages.models import stored
from stages.models.plain import unlike
from stages.params import Params
from stages.records import Message, Task
from stages.text import chat, thoughts
from stages.text.copied import origin
from stages.text.prompts import question, with_shots

if TYPE_CHECKING:
    from stages.generation.decoding import Completion


class System(NamedTuple):
    """`prompts` raises DataError for a line that is too long for the model; `answers` answers one batch of prompts.

    `marks` are those of the thoughts before an answer, None where the model is asked without thoughts.
    """

    prompts: Callable[[list[Task]], list[list[int]]]
    answers: Callable[[list[list[int]], list[Task]], "list[Completion]"]
    marks: thoughts.Marks | None


class How(NamedTuple):
    """How systems answer: with thoughts first, and kept to JSON objects as by `predict.constrain`."""

    think: bool
    constrain: str


def opened(adapters: Mapping[str, Path | None], p: Params, how: How) -> dict[str, System]:
    """Return the systems by the names that the user gave; a base system has no adapter.

    Systems that are the base, or only add to it, share one base in memory.
    """
    from stages.generation.constraint import json_only
    from stages.generation.decoding import generate, greedy
    from stages.models.exchange import Exchange
    from stages.models.loading import open_base
    from stages.models.tuned import open_tuned

    runtime, limit = params.runtime(), p.predict.max_new_tokens
    sharing = {name for name, adapter in adapters.items() if _adds_to_base(adapter)}
    shared = Exchange(open_base(runtime)) if len(sharing) > 1 else None
    constraint = cache(lambda: json_only(shared.lm, named.schema(), limit, how.constrain == "copied")) if shared else None

    def one(name: str, adapter: Path | None) -> System:
        if shared and name in sharing:
            lm = shared.use(adapter)  # once now, to refuse a damaged one before the first answer
        else:
            lm = open_tuned(runtime, adapter) if adapter else open_base(runtime)
        shots = [] if adapter else named.shots(name)
        marks = thoughts.marks(lm.tokenizer) if how.think else None
        if marks and not marks.closing:
            raise DataError(f"--think: the chat template of {lm.tokenizer.name_or_path} writes no thoughts; leave it out")
        room = getattr(lm.model.config, "max_position_embeddings", sys.maxsize) - limit  # T5 has no such limit

        def prompts(tasks: list[Task]) -> list[list[int]]:
            asked = [with_shots(question(task), shots) for task in tasks]
            found = [chat.prompt_ids(lm.tokenizer, _thinking(messages) if how.think else messages) for messages in asked]
            for task, prompt in zip(tasks, found, strict=True):
                if len(prompt) > room:
                    raise DataError(
                        f"{task.source}: {len(prompt)} tokens for --system {name}, but the model reads {room} "
                        f"besides predict.max_new_tokens = {limit}; shorten it"
                    )
            return found

        kept_to = None
        if how.constrain != "none":  # it depends on the tokenizer alone, and takes seconds and memory
            kept_to = constraint() if constraint else json_only(lm, named.schema(), limit, how.constrain == "copied")

        def answers(batch: list[list[int]], tasks: list[Task]) -> "list[Completion]":
            if shared and name in sharing:
                shared.use(adapter)
            if kept_to is None:
                return greedy(lm, batch, limit)
            return generate(lm, batch, limit, kept_to.choose([origin(question(task)) for task in tasks]))

        return System(prompts, answers, marks)

    return {name: one(name, adapter) for name, adapter in adapters.items()}


def _adds_to_base(adapter: Path | None) -> bool:
    """Return whether a system is the base, or the base with a plain adapter of LoRA, which can be exchanged."""
    if adapter is None:
        return True
    if not (adapter / "adapter_config.json").is_file():
        return False
    config = stored.adapter_config(adapter)
    return not unlike(config) and config.get("task_type") != "SEQ_CLS"


def _thinking(messages: Sequence[Message]) -> list[Message]:
    return [*messages[:-1], messages[-1].model_copy(update={"thinks": True})]

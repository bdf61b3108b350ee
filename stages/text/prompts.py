"""The messages before an answer: a task's question, and the few-shot examples of a base system."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from stages.records import PLAIN_TEXT, Example, Message, Task, read

SHOTS = Path("data/formatted/shots.jsonl")


OPENING = ("system", "developer")  # roles of a turn that precedes examples too


def question(task: Task) -> tuple[Message, ...]:
    """Return all messages before the answer, none for a plain text; a line end joins instruction and input, as in Alpaca."""
    if PLAIN_TEXT in task.slices:
        return ()
    system = [Message(role="system", content=task.system)] if task.system else []
    asked = "\n".join(part for part in (task.instruction, task.input) if part)
    last = [Message(role="user", content=asked)] if asked or not task.history else []
    first, *others = [*system, *task.history, *last]
    return (first.model_copy(update={"tools": task.tools}) if task.tools else first, *others)


def answered(task: Task) -> tuple[Message, ...]:
    """Return the question and the right answer."""
    return (
        *question(task),
        Message(role="assistant", content=task.output, reasoning=task.reasoning, tool_calls=task.tool_calls),
    )


def shots_of(system: str, dataset: str = "") -> list[Message]:
    """Return the example turns of a system such as base_3shot; others have none. In a mixture they are of one data set."""
    count = int(system.removeprefix("base_").removesuffix("shot")) if system.endswith("shot") else 0
    fitting = (example for example in read(SHOTS, Example) if dataset in ("", example.dataset)) if count else ()
    return shown(islice(fitting, count))


def shown(examples: Iterable[Example]) -> list[Message]:
    """Return the turns of examples for a prompt, which has a system turn of its own."""
    return [message for example in examples for message in example.messages if message.role not in OPENING]


def shots_by_dataset(system: str, examples: Iterable[Example]) -> dict[str, list[Message]]:
    """Return the example turns for rows of each data set; all rows have one, "", unless they are a mixture."""
    return {name: shots_of(system, name) for name in {example.dataset for example in examples}}


def with_shots(prompt: Sequence[Message], shots: Sequence[Message]) -> list[Message]:
    """Insert earlier questions and answers between the system prompt and the question."""
    system = [message for message in prompt[:1] if message.role in OPENING]
    return [*system, *shots, *prompt[len(system) :]]

"""Prompts of multiple-choice questions: lettered options, in one order or in several."""

from string import ascii_uppercase

from stages.errors import DataError
from stages.records import Task, content_hash

PROMPT = "{question}\n\nOptions:\n{options}\n\nPlease choose the correct answer."
ANSWER = "The correct answer is {option}."


def asked(place: str, task: Task, orders: int, times: int, seed: int) -> list[Task]:
    """Return the task, whose output is one of its bare choices, as `times` prompts with complete answers.

    With `orders` = 0 the options stand as in the file. Otherwise a number drawn from seed and question rotates them, so that
    positions give no hint. Each further prompt rotates them on, so that no option keeps its position.
    """
    count = len(task.choices)
    if orders > count:
        raise DataError(f"{place}: data.orders = {orders}, but there are {count} options; lower it")
    question = "\n".join(part for part in (task.instruction, task.input) if part)
    drawn = int(content_hash([seed, question])[:8], 16) if orders else 0
    return [_prompt(task, question, (drawn + turn * count // times) % count) for turn in range(times)]


def _prompt(task: Task, question: str, shift: int) -> Task:
    options = task.choices[shift:] + task.choices[:shift]
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
    changed = {
        "instruction": "",
        "input": PROMPT.format(question=question, options=listed),
        "output": ANSWER.format(option=task.output),
        "choices": tuple(ANSWER.format(option=option) for option in options),
    }
    return Task.model_validate(task.model_dump(exclude={"id"}) | changed)

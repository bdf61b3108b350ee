"""Read instances of an instruction from a teacher's answer, filter them, make tasks (arXiv:2212.10560, section 2.2)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stages.params import GeneralInstruct, InstanceFilter
from stages.records import Call, Document, Message, Rejection, Task
from stages.teachers.answers import unfinished

NEXT_TASK = re.compile(r"(?:^|\n)[ \t]*Task[ \t]*[:：]")
LABEL = re.compile(r"(?:^|\n)[ \t]*Class label[ \t]*[:：][ \t]*", re.IGNORECASE)
EXAMPLE = re.compile(r"(?:^|\n)[ \t]*Example[ \t]*\d+[ \t]*[.:：]?")
INPUT = re.compile(r"(?:^|\n)[ \t]*Input[ \t]*(?:\d+[ \t]*)?[:：]")
OUTPUT = re.compile(r"(?:^|\n)[ \t]*Output[ \t]*(?:\d+[ \t]*)?[:：]")
TURN = re.compile(r"(?:^|\n)[ \t]*(User|Assistant)[ \t]*[:：]")


@dataclass(frozen=True)
class Instance:
    """An input, which may be empty, and its output; `unfinished` is why the last one of an answer is not whole."""

    input: str
    output: str
    unfinished: str | None


def read(call: Call, is_closed: bool) -> list[Instance]:
    """Return the instances of an answer, which ends where the teacher adds a task of its own."""
    text, *after = NEXT_TASK.split(call.text, maxsplit=1)
    pairs = _labelled(text) if is_closed else _examples(text)
    lost = None if after else unfinished(call)
    return [Instance(*pair, lost if number == len(pairs) else None) for number, pair in enumerate(pairs, start=1)]


def _labelled(text: str) -> list[tuple[str, str]]:
    """Parse output first: each label ends with its line and is followed by its input."""
    parts = [part.strip().partition("\n") for part in LABEL.split(text)[1:]]
    return [(given.strip(), label.strip()) for label, _, given in parts]


def _examples(text: str) -> list[tuple[str, str]]:
    """Parse input first: examples, or one without a heading; a part without "Output:" is an output without input."""
    pairs = []
    for part in EXAMPLE.split(text)[1:] or ([text] if OUTPUT.search(text) else []):
        given, *outputs = OUTPUT.split(part, maxsplit=1)
        given, output = (given, outputs[0]) if outputs else ("", part)
        pairs.append((INPUT.sub("", given).strip(), INPUT.split(output)[0].strip()))
    return pairs


def passed(
    found: Sequence[Instance], instruction: str, call: str, options: GeneralInstruct
) -> tuple[list[Instance], list[Rejection]]:
    """Apply one filter after another, each to the remaining instances."""
    left, rejected = list(found), []
    for name in options.instance_filters:
        others, left, before = left, [], set[Instance]()
        answered = {(other.input, other.output) for other in others if other.input}
        conflict = len(answered) > len({given for given, _ in answered})
        for one in others:
            is_bad, reason = _judged(one, conflict, one in before, len(left), options.instances)[name]
            if is_bad:
                text = "\n".join((instruction, one.input, one.output))
                rejected.append(Rejection(text=text, filter=f"instance_{name}", reason=reason, parents=(call,)))
            else:
                left.append(one)
                before.add(one)
    return left, rejected


def _judged(one: Instance, conflict: bool, repeated: bool, before: int, most: int) -> dict[InstanceFilter, tuple[bool, str]]:
    """Return each filter's verdict and reason; `before` counts the kept instances before this one."""
    ends = (one.input[-1:], one.output[-1:])
    return {
        "finished": (one.unfinished is not None, f"the reply {one.unfinished}"),
        "echo": (one.input == one.output, "the output repeats the input"),
        "empty": (not one.output, "no output"),
        "colon": (":" in ends or "：" in ends, "input or output ends with a colon"),
        "conflict": (conflict, "an input of the instruction has several outputs"),
        "duplicate": (repeated, "identical to an earlier one"),
        "surplus": (before >= most, f"more than {most} instances"),
    }


def task(one: Instance, document: Document, is_closed: bool, call: str) -> Task:
    *history, last = turns(one.input)
    return Task(
        kind="classification" if is_closed else "text",
        history=tuple(history),
        instruction=document.text,
        input=last.content,
        output=one.output,
        source=document.id,
        parents=(document.id, call),
    )


def turns(text: str) -> list[Message]:
    """Split a dialogue that alternates between "User:" and "Assistant:" and ends with the user; other text is one turn."""
    head, *rest = TURN.split(text)
    found = list(zip(rest[::2], rest[1::2], strict=True))
    wanted = [("User", "Assistant")[number % 2] for number in range(len(found))]
    if head.strip() or len(found) % 2 == 0 or [role for role, _ in found] != wanted:
        return [Message(role="user", content=text)]
    return [Message(role="user" if role == "User" else "assistant", content=text.strip()) for role, text in found]

"""Make training rows, pairs and votes of feedback; what contradicts itself or touches a held-out question makes none."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stages.feedback.joining import Joined
from stages.feedback.records import Answer, Feedback
from stages.fetch.choices import ANSWER
from stages.format.chats import example
from stages.format.schemas import lacking
from stages.params import Data
from stages.preferences.records import Pair, Vote
from stages.records import Task, TaskKind
from stages.text.objects import parsed
from stages.text.prompts import question

R = TypeVar("R", Task, Pair)
Asked = tuple[Any, ...]  # the prompt of an answer and its options, also followed by its text
HeldOut = Callable[[Sequence[Task]], Iterable[str | None]]  # for each task why it must not be trained on, None if it may


@dataclass
class Made:
    """What is learned from; `dropped` counts answers and corrections that are not, by reason."""

    tasks: list[Task] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    votes: list[Vote] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Target:
    """What answers of this data look like: their kind, the labels of a classification, the schema of extracted objects.

    With `copied` their texts stand in the prompt; `indent` is that of their JSON.
    """

    kind: TaskKind
    labels: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    copied: bool = False
    indent: int | None = None


def kind_of(data: Data) -> TaskKind:
    if data.kind == "rows":
        return data.task
    return "extraction" if data.kind == "complaints" else "text"


def made(found: Joined, target: Target, held_out: HeldOut) -> Made:
    """Return the rows, pairs and votes of answers with feedback.

    An answer is left out if users contradict each other about its text or correct its question differently, also in answers of
    other systems, or if its question is held out. Its correction is a training row, and the better answer of a pair; answers
    that were corrected alike share them. Without a correction that fits the task, the answer is a vote.
    """
    result, votes, corrections = Made(), defaultdict[Asked, set[str]](set), defaultdict[Asked, set[str]](set)
    for id, remarks in found.remarks.items():
        answer = found.answers[id]
        votes[(*_asked(answer), answer.text)] |= {one.says for one in remarks}
        corrections[_asked(answer)] |= {one.correction for one in remarks if one.correction}
    clear: list[tuple[Answer, list[Feedback], str]] = []
    for id, remarks in found.remarks.items():
        answer, corrected = found.answers[id], next((one.correction for one in remarks if one.correction), "")
        if len(votes[(*_asked(answer), answer.text)]) > 1 or (corrected and len(corrections[_asked(answer)]) > 1):
            result.dropped["conflicting"] += 1
        else:
            clear.append((answer, remarks, corrected))
    asked = [task(answer, corrected or answer.text, target.kind, ()) for answer, _, corrected in clear]
    for (answer, remarks, corrected), reason in zip(clear, held_out(asked), strict=True):
        if reason:
            result.dropped["question of a validation or test row"] += 1
            continue
        _learn(result, answer, remarks, corrected, target)
    result.tasks, result.pairs = _once(result.tasks), _once(result.pairs)
    return result


def _once(rows: Sequence[R]) -> list[R]:
    """Return rows that differ in their parents alone as one row, with the parents of all."""
    equal = defaultdict[str, list[R]](list)
    for row in rows:
        equal[row.model_dump_json(exclude={"id", "parents"})].append(row)
    parents = ((same, {"parents": tuple(id for row in same for id in row.parents)}) for same in equal.values())
    return [type(same[0]).model_validate(same[0].model_dump(exclude={"id"}) | united) for same, united in parents]


def _asked(answer: Answer) -> Asked:
    return answer.messages, answer.choices


def _learn(result: Made, answer: Answer, remarks: Sequence[Feedback], corrected: str, target: Target) -> None:
    """Add the training row and the pair of a correction, or a vote where `corrected` is empty."""
    ids = tuple(one.id for one in remarks)
    if corrected:
        output, reason = fitted(answer, corrected, target)
        if not reason and output != answer.text:
            right = task(answer, output, target.kind, ids)
            result.tasks.append(right)
            result.pairs.append(
                Pair(
                    prompt=question(right),
                    chosen=output,
                    rejected=answer.text,
                    rejected_stopped=answer.stopped,
                    source="feedback",
                    chosen_from="correction",
                    rejected_from="answer",
                    parents=(*ids, answer.id),
                )
            )
            return
        result.dropped[f"correction: {reason or 'the same answer'}"] += 1
        if not reason:
            return
    result.votes.append(
        Vote(
            prompt=answer.messages,
            text=answer.text,
            stopped=answer.stopped,
            good=remarks[0].says == "up",
            source="feedback",
            parents=(*ids, answer.id),
        )
    )


def task(answer: Answer, output: str, kind: TaskKind, parents: tuple[str, ...]) -> Task:
    """Return the prompt of an answer as a task with this output."""
    first, *others = [answer.messages[0].model_copy(update={"tools": ""}), *answer.messages[1:]]
    system = first.content if first.role == "system" else ""
    history = others if first.role == "system" else [first, *others]
    asked = history.pop().content if history and history[-1].role == "user" else ""
    return Task(
        kind=kind,
        system=system,
        history=tuple(history),
        input=asked,
        output=output,
        source="feedback",
        choices=answer.choices,
        tools=answer.messages[0].tools,
        parents=parents,
    )


def fitted(answer: Answer, correction: str, target: Target) -> tuple[str, str]:
    """Return a correction as the task's answers are written, and why it cannot be one, "" if it can."""
    if options := answer.choices or target.labels:
        named = [option for option in options if option in (correction.strip(), ANSWER.format(option=correction.strip()))]
        return (named[0], "") if named else ("", "not one of the options")
    if target.kind in ("choice", "classification"):
        return "", "its options are unknown"
    if target.kind != "extraction":
        return correction, ""
    found = parsed(correction)
    if found is None:
        return "", "not a JSON object"
    schema = target.schema or {}
    ordered = {key: found[key] for key in schema.get("properties", found) if key in found}
    if ordered.keys() != found.keys():
        return "", "other fields than the training rows have"
    output = json.dumps(ordered, ensure_ascii=False, indent=target.indent)
    return output, lacking(example(task(answer, output, "extraction", ())), schema, target.copied)

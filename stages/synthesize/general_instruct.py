"""Self-Instruct as published (Wang et al. 2023, arXiv:2212.10560): new tasks of any kind from a growing pool.

A round samples demonstrations from seeds and kept tasks and lets the teacher continue the list. For each instruction that
passes the filters, it asks whether the task is classification. Then it asks for instances: of a classification task output
first, of others input first.
"""

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from stages.errors import DataError
from stages.params import GeneralInstruct, Sampling, SelfInstruct
from stages.records import Call, Document, Message, Rejection
from stages.synthesize import diversity, filters, instances
from stages.synthesize.made import Inputs, Made, steps
from stages.teachers.answers import unfinished
from stages.teachers.teacher import Ask, Teacher, template

ITEM = re.compile(r"(?:^|\n)[ \t]*(\d{1,9})[ \t]?[.)．、）][ \t]*")


T = TypeVar("T")


class Shown(NamedTuple):
    """A demonstration: the id of a seed task or of a kept instruction, and the instruction."""

    id: str
    instruction: str


class Candidate(NamedTuple):
    """An instruction from a teacher's list; its parents are the call and the demonstrations.

    `unfinished` is why the list is not whole. A reply without any instruction gives one without text.
    """

    text: str
    unfinished: str | None
    parents: tuple[str, ...]


def run(inputs: Inputs, teacher: Teacher, options: GeneralInstruct, seed: int) -> Made:
    """Return instructions as `kept`, their instances as `tasks`, and rejections of both as `rejected`."""
    seeds = [task for task in inputs.pool if not filters.script(task.instruction, options.languages)]
    if len(seeds) < options.human + options.machine:
        raise DataError(
            f"synthesis.self_instruct: {options.human + options.machine} demonstrations per prompt need as many seed tasks in "
            f"languages = {options.languages}; data/authored/self_instruct/seeds.jsonl has {len(seeds)}"
        )
    rng, rounds, idle, is_whole = random.Random(seed), 0, 0, True
    human = [Shown(task.id, task.instruction) for task in seeds]
    novelty = filters.Novelty([task.instruction for task in seeds], options.max_rouge_l)
    made = Made(filters=(*options.filters, "instances"))
    while is_whole and len(made.kept) < options.target and idle < options.patience:
        known = len(made.kept)
        machine = [Shown(document.id, document.text) for document in made.kept]
        shown = [sampled(human, machine, options, rng) for _ in range(options.requests)]
        calls = teacher.answer(_list_asks(shown, rounds * options.requests, options.instruction_sampling))
        if not any(calls):
            is_whole = False
            break
        accepted = [new for new in _candidates(calls, shown) if _is_accepted(new, made, novelty, options)]
        is_whole = _extend(made, accepted, teacher, options) and None not in calls
        rounds, idle = rounds + 1, idle + 1 if len(made.kept) == known else 0
    ended_by = "target" if len(made.kept) >= options.target else "patience" if is_whole else "budget"
    names = [f"instance_{name}" for name in options.instance_filters]
    made.figures = {
        "ended_by": ended_by,
        "rounds": rounds,
        "instances": steps(names, len(made.tasks), made.rejected),
        **diversity.figures([document.text for document in made.kept], [task.instruction for task in seeds]),
    }
    made.tasks += seeds if options.include_seeds else []
    return made


def sampled(human: Sequence[T], machine: Sequence[T], options: SelfInstruct, rng: random.Random) -> list[T]:
    """Sample and shuffle demonstrations; human ones replace missing machine-made ones, as far as there are any."""
    chosen = rng.sample(machine, min(options.machine, len(machine)))
    chosen += rng.sample(human, min(options.human + options.machine - len(chosen), len(human)))
    return rng.sample(chosen, len(chosen))


def _list_asks(shown: Sequence[Sequence[Shown]], first: int, sampling: Sampling) -> list[Ask]:
    """Return a request per prompt; `first` continues their numbers, so that equal prompts get several answers."""
    texts = [[re.sub(r"\s+", " ", one.instruction).strip().rstrip(":：") for one in some] for some in shown]
    return [
        Ask(_prompt("instructions", shown=some), sampling, sample=number, follow_ups=2 * (len(some) - 1))
        for number, some in enumerate(texts, start=first)
    ]


def _candidates(calls: Sequence[Call | None], shown: Sequence[Sequence[Shown]]) -> list[Candidate]:
    return [
        Candidate(text, lost, (call.id, *(one.id for one in some)))
        for call, some in zip(calls, shown, strict=True)
        if call
        for text, lost in listed(call, len(some)) or [("", unfinished(call) or "holds no instruction")]
    ]


def listed(call: Call, shown: int) -> list[tuple[str, str | None]]:
    """Return the instructions of an answer that continues a list of `shown`, and why the answer is not whole, or None.

    The paper stops the teacher at a blank line and at number 16. Here the answer ends at twice the number of demonstrations,
    and a blank line ends only an instruction, since chat models put blank lines between them. Text before a list that repeats
    its first number is ignored.
    """
    head, *rest = ITEM.split(call.text)
    items = [(int(number), text) for number, text in zip(rest[::2], rest[1::2], strict=True)]
    if not items or items[0][0] != shown + 1:
        items = [(shown + 1, head), *items]
    texts = [re.sub(r"\s+", " ", text.strip().split("\n\n")[0]).strip() for number, text in items if number < 2 * shown]
    lost = None if any(number >= 2 * shown for number, _ in items) else unfinished(call)
    return [(text, lost) for text in texts if text]


def _is_accepted(candidate: Candidate, made: Made, novelty: filters.Novelty, options: GeneralInstruct) -> bool:
    """Add the instruction to the known ones if no filter objects; otherwise record its rejection."""
    text, chinese = candidate.text, "zh" in options.languages and filters.is_chinese(candidate.text)
    rules = options.rules.zh if chinese else options.rules.en
    judges: dict[str, Callable[[], str | None]] = {
        "finished": lambda: candidate.unfinished,
        "length": lambda: filters.length(text, rules.min_words, rules.max_words, by_spaces=not chinese),
        "keywords": lambda: filters.keywords(text, rules.keywords),
        "prefix": lambda: filters.prefix(text, rules.prefixes),
        "punctuation": lambda: filters.punctuation(text, chinese),
        "script": lambda: filters.script(text, options.languages),
        "novelty": lambda: novelty.check(text),
    }
    reasons = ((name, judges[name]()) for name in (options.filters if text else ["finished"]))
    failed = next(((name, reason) for name, reason in reasons if reason), None)
    if failed:
        made.rejected.append(Rejection(text=text, filter=failed[0], reason=failed[1], parents=candidate.parents[:1]))
    else:
        novelty.add(text)
    return failed is None


def _extend(made: Made, fresh: Sequence[Candidate], teacher: Teacher, options: GeneralInstruct) -> bool:
    """Request instances of the fresh instructions and keep those that have any.

    Instructions cut off by the budget are neither kept nor rejected; return False if there are any.
    """
    asks = [_ask("classification", new.text, options.classification_sampling, follow_ups=1) for new in fresh]
    judged = [(new, call) for new, call in zip(fresh, teacher.answer(asks), strict=True) if call]
    is_whole = len(judged) == len(fresh)
    made.rejected += [
        _without_instances(new, f"whether it is classification: the reply {unfinished(call)}", call)
        for new, call in judged
        if not call.text
    ]
    judged = [(new, call) for new, call in judged if call.text]
    closed = [call.text.strip().lower().startswith("yes") for _, call in judged]
    asks = [
        _ask("output_first" if is_closed else "input_first", new.text, options.instance_sampling, instances=options.instances)
        for (new, _), is_closed in zip(judged, closed, strict=True)
    ]
    answers = teacher.answer(asks)
    for (new, call), is_closed, answer in zip(judged, closed, answers, strict=True):
        if answer is None:
            continue
        parents = (*new.parents, call.id, answer.id)
        found = instances.read(answer, is_closed)
        passed, rejected = instances.passed(found, new.text, answer.id, options)
        made.rejected += rejected
        if passed:
            document = Document(text=new.text, kind="instruction", source="self_instruct", parents=parents)
            made.kept.append(document)
            made.tasks += [instances.task(one, document, is_closed, answer.id) for one in passed]
        else:
            lost = unfinished(answer)
            none = f"the reply {lost}" if lost else "the answer holds no instance"
            reason = f"none of its {len(found)} instances passed" if found else none
            made.rejected.append(_without_instances(new, reason, call, answer))
    return is_whole and None not in answers


def _without_instances(new: Candidate, reason: str, *calls: Call) -> Rejection:
    parents = (new.parents[0], *(call.id for call in calls))
    return Rejection(text=new.text, filter="instances", reason=reason, parents=parents)


def _ask(name: str, instruction: str, sampling: Sampling, follow_ups: int = 0, **values: int) -> Ask:
    words = _prompt(name, instruction=instruction, chinese=filters.is_chinese(instruction), **values)
    return Ask(words, sampling, follow_ups=follow_ups)


def _prompt(name: str, **values: object) -> tuple[Message, ...]:
    return (Message(role="user", content=template(Path(__file__).with_name(f"{name}.jinja")).render(**values)),)

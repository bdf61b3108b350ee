"""Self-Instruct for complaints: the teacher continues a list of complaints, and those that pass the filters become bodies.

Each prompt shows bodies as earlier turns of a chat, so that the next turn is one more body. The pool grows as published (Wang
et al. 2023, arXiv:2212.10560): what a round keeps is shown in later rounds, next to authored bodies. The kept bodies are
composed into rows with the authored training layouts, like authored bodies.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from stages.errors import DataError
from stages.figures.synthesis import Round
from stages.params import ComplaintInstruct, ComplaintsData, GeneralInstruct, SelfInstruct
from stages.records import Call, Document, Message, Rejection
from stages.synthesize import diversity, filters, general_instruct
from stages.synthesize.made import Inputs, Made
from stages.tasks.complaints import Mix, compose
from stages.teachers.answers import unfinished, unquoted
from stages.teachers.teacher import Ask, Teacher, template


def run(inputs: Inputs, teacher: Teacher, options: SelfInstruct, seed: int) -> Made:
    """Return the teacher's new bodies, filtered, and `options.rows` tasks composed from the kept ones."""
    if isinstance(options, GeneralInstruct):
        return general_instruct.run(inputs, teacher, options, seed)
    bodies = [document for document in inputs.seeds if document.kind == "body"]
    layouts = [document for document in inputs.seeds if document.kind != "body"]
    data = inputs.data
    if not bodies or not layouts or not isinstance(data, ComplaintsData):
        raise DataError("synthesis.methods: self_instruct needs authored complaint bodies and layouts; use synthesis=none")
    rng, made, rounds = random.Random(seed), Made(filters=options.filters), list[Round]()
    novelty = filters.Novelty([body.text for body in bodies], options.max_rouge_l)
    for first in range(0, options.calls, options.requests):  # also where the budget is spent: a plan counts all requests
        known, numbers = len(made.kept), range(first, min(first + options.requests, options.calls))
        shown = [general_instruct.sampled(bodies, made.kept, options, rng) for _ in numbers]
        calls = teacher.answer(
            [Ask(prompt(some), options.sampling, number) for number, some in zip(numbers, shown, strict=True)]
        )
        _extend(made, calls, shown, novelty, options)
        if answered := sum(call is not None for call in calls):
            rounds.append(Round(asked=answered, kept=len(made.kept) - known))
    made.figures = {
        "rounds": len(rounds),
        "by_round": rounds,
        **diversity.figures([document.text for document in made.kept], [body.text for body in bodies]),
    }
    if made.kept:
        mix = Mix(data.missing, data.second_email, data.noise, data.accents.train).times(data.train_hard)
        locales = (data.locale, *data.accents.locales)
        made.tasks = compose(made.kept, layouts, options.rows, locales, mix, data.system, data.indent, seed + 1)
    return made


def prompt(demonstrations: Sequence[Document]) -> tuple[Message, ...]:
    """Return a chat in which the teacher has already written the demonstrations."""
    words = template(Path(__file__).with_name("complaint.jinja")).module
    ask, turns = Message(role="user", content=words.ask()), [Message(role="system", content=words.system())]
    for document in demonstrations:
        turns += [ask, Message(role="assistant", content=document.text)]
    return (*turns, ask)


def _extend(
    made: Made,
    calls: Sequence[Call | None],
    shown: Sequence[Sequence[Document]],
    novelty: filters.Novelty,
    options: ComplaintInstruct,
) -> None:
    """Add the answers of a round to those kept or rejected; the parents of a kept one are its call and what it was shown."""
    for call, demonstrations in zip(calls, shown, strict=True):
        if call is None:  # the budget ended before it
            continue
        text = unquoted(call.text)
        failed = _rejected_by(text, unfinished(call), options, novelty)
        if failed:
            made.rejected.append(Rejection(text=text, filter=failed[0], reason=failed[1], parents=(call.id,)))
        else:
            novelty.add(text)
            parents = (call.id, *(document.id for document in demonstrations))
            made.kept.append(Document(text=text, kind="body", source="self_instruct", parents=parents))


def _rejected_by(text: str, lost: str | None, options: ComplaintInstruct, novelty: filters.Novelty) -> tuple[str, str] | None:
    """Return the first filter that throws the answer out, and why; `lost` is why it is not whole. An empty one never passes."""
    if lost and not text:
        return "finished", lost
    judges: dict[str, Callable[[], str | None]] = {
        "finished": lambda: filters.finished(text, lost),
        "length": lambda: filters.length(text, options.min_words, options.max_words),
        "leftovers": lambda: filters.leftovers(text),
        "repetition": lambda: filters.repetition(text, options.max_repetition),
        "novelty": lambda: novelty.check(text),
    }
    reasons = ((name, judges[name]()) for name in options.filters)
    return next(((name, reason) for name, reason in reasons if reason), None)

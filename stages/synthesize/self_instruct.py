"""Self-Instruct for complaints: the teacher continues a list of complaints, and those that pass the filters become bodies.

Each prompt shows bodies sampled from the authored ones as earlier turns of a chat, so that the next turn is one more body.
The kept bodies are composed into rows with the authored training layouts, like authored bodies.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from stages.errors import DataError
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
    rng = random.Random(seed)
    shown = [rng.sample(bodies, min(options.demonstrations, len(bodies))) for _ in range(options.calls)]
    calls = teacher.answer([Ask(prompt(demonstrations), options.sampling) for demonstrations in shown])
    made = _filtered(calls, shown, bodies, options)
    made.figures = diversity.figures([document.text for document in made.kept], [body.text for body in bodies])
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


def _filtered(
    calls: Sequence[Call | None], shown: Sequence[Sequence[Document]], bodies: Sequence[Document], options: ComplaintInstruct
) -> Made:
    made = Made(filters=options.filters)
    novelty = filters.Novelty([body.text for body in bodies], options.max_rouge_l)
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
    return made


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

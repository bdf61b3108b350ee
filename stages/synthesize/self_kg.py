"""Self-KG: templates write training pairs from the facts of a graph, as in HuaTuo (Wang et al. 2023, arXiv:2304.06975).

Each fact is asked several times and in several forms, so that the model learns the fact and not a sentence. A teacher may
add questions in other words; those that change more than the words are rejected.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from stages.errors import DataError
from stages.params import GraphData, SelfKG
from stages.records import Document, Fact, Message, Rejection, content_hash
from stages.synthesize.diversity import distinct_figures
from stages.synthesize.made import Inputs, Made
from stages.tasks.questions import INVENTING, WRONG, GraphQuestion, Wordings, choice, declining, open_ended, yes_no
from stages.teachers.answers import unfinished, unquoted
from stages.teachers.teacher import Ask, Teacher, template
from stages.text.words import CJK

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# Contains a negation but denies nothing.
NEITHER = re.compile(r"(\w)[不没]\1|[能是可]否|有无|非常|\bwhether or not\b|\bor not\?", re.IGNORECASE)
NEGATION = re.compile(r"\b(?:not|no|never|without|nor|cannot)\b|n['’]t\b|[不没无非未]", re.IGNORECASE)

Failure = tuple[str, str]  # the filter that throws a pair out, and why
Candidate = tuple[GraphQuestion, Failure | None]


def run(inputs: Inputs, teacher: Teacher, options: SelfKG, seed: int) -> Made:
    """Return pairs about every training fact, pairs to decline, and `options.reword` of both in the teacher's words."""
    if not isinstance(inputs.data, GraphData):
        raise DataError("synthesis.methods: self_kg needs a graph of facts such as data=medical; else use another method")
    wordings = Wordings(document for document in inputs.seeds if document.kind != "distractor")
    if lacking := wordings.missing({fact.relation for fact in inputs.facts}, INVENTING if options.declining else ()):
        raise DataError("\n".join(f"{inputs.data.path}/wordings/train.yaml: {line}" for line in lacking))
    candidates = [candidate for group in _groups(inputs) for candidate in _about(*group, wordings, options, seed)]
    outside = declining(wordings, inputs.facts, options.declining, inputs.data.decline, random.Random(seed))
    candidates += [(pair, None) for pair in outside]
    good = [pair for pair, failure in candidates if not failure]
    drawn = sorted(good, key=lambda pair: content_hash([seed, pair.question]))  # so a changed fact changes few of them
    reworded = _reworded(drawn[: options.reword], teacher, options)
    return _filtered([*(candidates if options.templates else ()), *reworded], inputs, options)


def prompt(question: str) -> tuple[Message, ...]:
    words = template(Path(__file__).with_name("reword.jinja")).module
    return Message(role="system", content=words.system()), Message(role="user", content=words.ask(question))


def _groups(inputs: Inputs) -> Iterator[tuple[list[Fact], list[Document]]]:
    """Yield the facts of each subject and relation, with similar objects that are not true."""
    groups: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    near: dict[str, list[Document]] = defaultdict(list)
    for fact in inputs.facts:
        groups[fact.subject, fact.relation].append(fact)
    for document in inputs.seeds:
        if document.kind == "distractor":
            near[document.parents[0]].append(document)
    for facts in groups.values():
        yield facts, [document for fact in facts for document in near[fact.id]]


def _about(
    facts: Sequence[Fact], distractors: Sequence[Document], wordings: Wordings, options: SelfKG, seed: int
) -> Iterator[Candidate]:
    """Yield open questions about all facts together, and for each fact choices and as many no as yes questions.

    Each group has its own generator, so that a changed fact changes only the questions about its subject and relation.
    """
    rng = random.Random(content_hash([seed, facts[0].subject, facts[0].relation]))

    def some(form: str, count: int) -> list[Document]:
        found = wordings.of(form, facts[0].relation)
        return rng.sample(found, min(count, len(found)))

    for wording in some("open", options.open):
        yield open_ended(wording, facts), None
    few = ("distractors", f"only {len(distractors)} of {WRONG}") if len(distractors) < WRONG else None
    for fact in facts:
        for wording in some("choice", options.choice):
            others = [document.text for document in rng.sample(list(distractors), min(WRONG, len(distractors)))]
            yield choice(wording, rng.choice(wordings.of("frame", fact.relation)), fact, others, rng), few
    asked = [(wording, fact) for fact in facts for wording in some("yes_no", options.yes_no)]
    for (wording, fact), distractor in zip_longest(asked, distractors[: len(asked)]):
        yield yes_no(wording, fact), None if distractor else ("distractors", "none is left for a question to answer with no")
        if distractor:
            yield yes_no(wording, fact, distractor), None


def _reworded(pairs: Sequence[GraphQuestion], teacher: Teacher, options: SelfKG) -> Iterator[Candidate]:
    calls = teacher.answer([Ask(prompt(pair.ask), options.sampling) for pair in pairs])
    for pair, call in zip(pairs, calls, strict=True):
        if call:  # None: the budget ended before it
            text = unquoted(call.text)
            failure = _failure(pair, text, unfinished(call), options.filters)
            yield replace(pair, ask=text, parents=(*pair.parents, call.id)), failure


def _failure(pair: GraphQuestion, text: str, unfinished: str | None, filters: Sequence[str]) -> Failure | None:
    """Return the first filter that the rewording fails: it must stay a question and keep entities, numbers and negation.

    `unfinished` is why the reply is not whole; an empty one never passes.
    """
    marks = "?？" if pair.ask.endswith(tuple("?？")) else "?.:？。："
    names = [name for name in pair.names if name in pair.ask]
    lost = next((name for name in names if not _whole(name).search(text)), None)
    whole = "\n" not in text and text.endswith(tuple(marks))
    reasons = {
        "finished": unfinished or (not whole and "no whole question"),
        "entities_survived": lost and f"without {lost!r}",
        "numbers_survived": Counter(NUMBER.findall(pair.ask)) != Counter(NUMBER.findall(text)) and "other numbers",
        "negation_survived": _denies(pair.ask, names) != _denies(text, names) and "denies more or less",
    }
    on = filters if text else ["finished"]
    return next(((name, f"{reason}; was {pair.ask!r}") for name in on if (reason := reasons.get(name))), None)


def _whole(name: str) -> re.Pattern[str]:
    """Match the name in any case, not inside a longer word; Chinese has no border between words."""
    letter = rf"[^\W{CJK}]"
    return re.compile(f"(?<!{letter}){re.escape(name)}(?!{letter})", re.IGNORECASE)


def _denies(text: str, names: Sequence[str]) -> bool:
    """Return whether a negation stands outside the names, some of which contain one."""
    for name in names:
        text = _whole(name).sub(" ", text)
    return bool(NEGATION.search(NEITHER.sub(" ", text)))


def _filtered(candidates: Sequence[Candidate], inputs: Inputs, options: SelfKG) -> Made:
    made, seen = Made(filters=("distractors", *options.filters)), set[str]()
    for pair, failure in candidates:
        text = f"{pair.question}\n{pair.answer}"
        key = " ".join(pair.question.lower().split())
        if failure is None and key in seen and "duplicate" in options.filters:
            failure = ("duplicate", "asked before")
        if failure:
            made.rejected.append(Rejection(text=text, filter=failure[0], reason=failure[1], parents=pair.parents))
            continue
        seen.add(key)
        made.kept.append(Document(text=text, kind=pair.form, source=pair.names[0], parents=pair.parents))
        made.tasks.append(pair.task(inputs.data.system, (pair.form,)))
    used = {parent for task in made.tasks for parent in task.parents}
    made.figures = {
        "facts": len(inputs.facts),
        "facts_asked": sum(fact.id in used for fact in inputs.facts),
        "rows_by_form": dict(Counter(document.kind for document in made.kept)),
        **distinct_figures([document.text for document in made.kept]),
    }
    return made

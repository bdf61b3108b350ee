"""Join each row of feedback with the answer that it is about; count the rows that cannot be joined."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stages.feedback.reading import Given
from stages.feedback.records import Answer, Feedback
from stages.records import Message
from stages.text.prompts import OPENING


@dataclass
class Joined:
    """The feedback on each answer, in the order of the file, and the rows that were left out, by reason.

    `first` is the place of the first row that was left out for a reason.
    """

    rows: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    remarks: dict[str, list[Feedback]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def leave_out(self, given: Given, reason: str) -> None:
        self.left_out[reason] += 1
        self.first.setdefault(reason, given.place)

    @property
    def feedback(self) -> list[Feedback]:
        return [one for found in self.remarks.values() for one in found]


def joined(rows: Iterable[Given], log: Mapping[str, Answer], system_prompt: str) -> Joined:
    """Return the rows by the answers that they are about.

    A row names an answer of the log by its id. Otherwise its own input and output are the answer, and that of the log if only
    one answer there has the same question and text. Messages without a system prompt get that of the run's data.
    """
    found, seen, by_text = Joined(), set[tuple[str, ...]](), _by_text(log.values())
    for given in rows:
        found.rows += 1
        texts = given.texts
        if not texts.get("vote") and not texts.get("correction"):
            found.leave_out(given, "empty")
            continue
        answer = log.get(texts.get("prediction_id", "")) or _own(given, by_text, system_prompt)
        if not answer:
            found.leave_out(given, "unknown id" if "prediction_id" in texts else "names no answer")
            continue
        remark = _remark(given, answer)
        if not remark.says:
            found.leave_out(given, "correction equal to the answer")
            continue
        if (key := _key(answer, remark)) in seen:
            found.leave_out(given, "duplicate")
            continue
        seen.add(key)
        found.answers.setdefault(answer.id, answer)
        found.remarks.setdefault(answer.id, []).append(remark)
    return found


def _by_text(answers: Iterable[Answer]) -> dict[tuple[str, str], list[Answer]]:
    found: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        found.setdefault((answer.messages[-1].content, answer.text), []).append(answer)
    return found


def _own(given: Given, by_text: Mapping[tuple[str, str], list[Answer]], system_prompt: str) -> Answer | None:
    """Return the answer that a row holds itself, None if it holds none."""
    if "input" not in given.texts or "output" not in given.texts:
        return None
    asked, text = given.texts["input"], given.texts["output"]
    if len(logged := by_text.get((asked, text), [])) == 1:
        return logged[0]
    messages = given.messages or (Message(role="user", content=asked),)
    if system_prompt and messages[0].role not in OPENING:
        messages = (Message(role="system", content=system_prompt), *messages)
    return Answer(system=given.texts.get("system", ""), messages=messages, text=text)


def _remark(given: Given, answer: Answer) -> Feedback:
    fields = {name: given.texts.get(name, "") for name in ("vote", "correction", "comment", "user", "at", "slice")}
    if fields["correction"] == answer.text:
        fields["correction"] = ""
    return Feedback.model_validate({"place": given.place, "parents": (answer.id,), **fields})


def _key(answer: Answer, remark: Feedback) -> tuple[str, ...]:
    """Return what a repeated row has too: without a user two equal votes may be those of two people, unless all is equal."""
    verdict = (answer.id, remark.user, remark.vote, remark.correction)
    return verdict if remark.user else (*verdict, remark.comment, remark.at)

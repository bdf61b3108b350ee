"""Examine whether a model's chat template and tokenizer write all that the rows hold, before a teacher is asked."""

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stages.errors import DataError
from stages.records import Message, Task
from stages.text import chat, roundtrip
from stages.text.prompts import OPENING, answered

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE, MOST = 200, 0.5  # rows whose answers are looked at; share of them that shows that the model does not fit
MARK = "Marker7"  # stands for a text of the row; looks like a word, so that no template changes it
TYPED = f"{MARK} <&> {MARK}"  # follows what a user wrote, which a template may neither cut off nor escape
TOOLS = json.dumps([{"type": "function", "function": {"name": MARK, "description": MARK, "parameters": {"type": "object"}}}])
REMEDY = {
    "system": "set data.system to '' and delete the system prompts of rows, or name a template in model.chat_template",
    "developer": "call that role system",
}
CHOOSE = "leave such rows out, choose another model or name a template in model.chat_template"


def require_written(tokenizer: "PreTrainedTokenizerBase", chats: Iterable[Sequence[Message]]) -> None:
    """Raise DataError that names what of a chat the template refuses or leaves out."""
    seen = set()
    for messages in chats:
        shape = tuple((m.role, m.trained, bool(m.reasoning), len(m.tool_calls), bool(m.tools)) for m in messages)
        if shape not in seen:
            seen.add(shape)
            _examine(tokenizer, messages)


def require_writable(tokenizer: "PreTrainedTokenizerBase", tasks: Iterable[Task], max_lost: float) -> None:
    """Raise DataError if the tokenizer loses most answers; `format` looks at all rows, and for a smaller share."""
    looked_at = [answered(task) for task in sample(tasks)]
    pairs = (roundtrip.pairs(tokenizer, messages, chat.encode(tokenizer, messages)) for messages in looked_at)
    lost = [found for each in pairs for found in roundtrip.lost(each)[:1]]
    if lost and len(lost) > max(max_lost, MOST) * len(looked_at):
        what = roundtrip.losses(tokenizer, len(lost), lost[0], len(looked_at))
        raise DataError(
            f"{tokenizer.name_or_path}: {what}; choose another model, change the rows or raise format.max_lost = {max_lost:g}"
        )


def sample(tasks: Iterable[Task]) -> list[Task]:
    """Return SAMPLE of the tasks, always the same ones: those with the smallest ids, which are hashes."""
    return heapq.nsmallest(SAMPLE, tasks, key=lambda task: task.id)


def _examine(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> None:
    try:
        chat.encode(tokenizer, messages)
    except DataError as error:
        role = messages[0].role
        if role in OPENING and _can_write(tokenizer, messages[1:]):
            why = str(error).partition("; leave")[0]
            raise DataError(f"{why}, but it can without the {role} turn; {REMEDY[role]}") from None
        if role not in OPENING and _can_write(tokenizer, [Message(role="system", content=MARK), *messages]):
            why = str(error).partition("; leave")[0]
            raise DataError(f"{why}, but it can after a system turn; set data.system") from None
        raise
    for what, mark, marked, remedy in _marked(messages):
        if mark not in chat.render(tokenizer, marked, answer_next=False):
            last = next((m.content for m in reversed(messages) if m.role == "user"), "")
            raise DataError(
                f"{tokenizer.name_or_path}: its chat template does not write {what}, as in the chat with the question "
                f"{last[:60]!r}; {remedy}"
            )


def _can_write(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> bool:
    try:
        chat.encode(tokenizer, messages)
    except DataError:
        return False
    return True


def _marked(messages: Sequence[Message]) -> Iterator[tuple[str, str, list[Message], str]]:
    """Yield the parts of a chat, each with a mark, the chat with the mark there, and what to do if it is missing."""

    def changed(place: int, **fields: Any) -> list[Message]:
        return [m.model_copy(update=fields) if n == place else m for n, m in enumerate(messages)]

    first_of_role = {m.role: place for place, m in reversed(list(enumerate(messages))) if m.content}
    for role, place in first_of_role.items():
        if role in (*OPENING, "user"):
            typed = changed(place, content=f"{messages[place].content} {TYPED}")
            yield f"turns of the role {role} in full", TYPED, typed, REMEDY.get(role, CHOOSE)
        else:
            yield f"turns of the role {role}", MARK, changed(place, content=MARK), CHOOSE
    for place, m in enumerate(messages):
        if m.reasoning:  # of earlier answers it may be left out
            yield "reasoning_content", MARK, changed(place, reasoning=MARK)[: place + 1], CHOOSE
        if m.tool_calls:
            for fields in ({"name": MARK}, {"arguments": json.dumps({"text": MARK})}):
                calls = tuple(call.model_copy(update=fields) for call in m.tool_calls)
                yield "tool_calls", MARK, changed(place, tool_calls=calls), CHOOSE
        if m.tools:
            yield "the column of tools", MARK, changed(place, tools=TOOLS), CHOOSE

"""The turns of a chat as a template reads them: the names that templates give their parts, and control tokens escaped."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stages.records import Message
from stages.text.control import BREAK, escaped

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turn = dict[str, Any]


def templated(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> list[Turn]:
    """Return the messages as a template sees them."""
    return [
        {"role": turn.role, "content": escaped(tokenizer, turn.role, turn.content)} | _further(tokenizer, turn)
        for turn in messages
    ]


def has_control_tokens(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> bool:
    """Return whether a message, or anything else that a template reads of its turn, holds the text of a control token."""
    return any(BREAK in json.dumps(turn, ensure_ascii=False) for turn in templated(tokenizer, messages))


def _further(tokenizer: "PreTrainedTokenizerBase", turn: Message) -> Turn:
    """Return the keys of a turn besides role and content. Its thoughts have the names that templates give them."""
    found: Turn = {name: _data(tokenizer, getattr(turn, name)) for name in ("name", "tool_call_id") if getattr(turn, name)}
    if turn.reasoning:
        found |= dict.fromkeys(("reasoning_content", "reasoning", "thinking"), _data(tokenizer, turn.reasoning))
    if turn.tool_calls:
        found["tool_calls"] = [
            {
                "type": "function",
                **({"id": _data(tokenizer, call.id)} if call.id else {}),
                "function": {
                    "name": _data(tokenizer, call.name),
                    "arguments": _Arguments(_data(tokenizer, json.loads(call.arguments))),
                },
            }
            for call in turn.tool_calls
        ]
    if turn.tools:
        found["tools"] = _data(tokenizer, json.loads(turn.tools))
    return found


class _Arguments(dict[str, Any]):
    """Arguments of a call, which most templates read as an object, and others (DeepSeek's) join as its JSON."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)

    def __add__(self, text: str) -> str:
        return str(self) + text

    def __radd__(self, text: str) -> str:
        return text + str(self)


def _data(tokenizer: "PreTrainedTokenizerBase", value: Any) -> Any:
    """Return a value with its control tokens escaped, as those of a user's text."""
    if isinstance(value, str):
        return escaped(tokenizer, "user", value)
    if isinstance(value, dict):
        return {_data(tokenizer, key): _data(tokenizer, item) for key, item in value.items()}
    return [_data(tokenizer, item) for item in value] if isinstance(value, list) else value

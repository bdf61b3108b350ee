"""What columns are called and what their values look like: parts of a question, right answers, chats."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from stages.fetch import options
from stages.fetch.strict_json import loads

OPENAI, SHAREGPT = "OpenAI messages", "ShareGPT"
CHATS = ("messages", "conversations", "conversation")
TURN = {OPENAI: {"role", "content"}, SHAREGPT: {"from", "value"}}
# Names of columns that hold a part of the question, and of those that hold the right answer.
BEFORE = ("context", "passage", "article", "premise", "ctx", "paragraph", "story", "document", "background", "dialogue")
ASKED = ("question", "input", "prompt", "query", "text", "sentence", "hypothesis", "instruction")
RIGHT = ("chosen", "completion", "output", "response", *options.RIGHT, "answers", "label_text", "label", "summary", "target")


def present_in(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns that any of the rows has, in the order in which they appear."""
    return list(dict.fromkeys(chain.from_iterable(rows)))


def matching(present: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the columns with one of the names, whatever their case, in the order of the names."""
    return [column for name in names for column in present if folded(column) == name]


def folded(name: str) -> str:
    return name.strip().lower()


def is_chat(row: Mapping[str, Any], name: str, shape: str) -> bool:
    """Return whether the value of a column, a list or its JSON, has turns with the keys of the shape."""
    turns = listed(row.get(name))
    return bool(turns) and isinstance(turns[0], dict) and TURN[shape] <= turns[0].keys()


def listed(value: Any) -> list[Any]:
    """Return a list, or the one whose JSON a text is; otherwise an empty one."""
    try:
        found = loads(value) if isinstance(value, str) else value
    except ValueError:
        return []
    return found if isinstance(found, list) else []

"""Read a chat completion, whatever server wrote it: its text, its thoughts, and whether the model ended it."""

import re
from collections.abc import Callable
from typing import Any

from stages.teachers.answers import joined
from stages.teachers.teacher import Ask, Reply, about, counted

# Fields of a message with thoughts: DeepSeek, SGLang, llama.cpp; vLLM, Ollama, OpenRouter; others. Several may hold the same.
THOUGHTS = ("reasoning_content", "reasoning", "thinking", "thoughts", "reasoning_details")
TEXTS = ("text", "content", "thinking", "reasoning", "summary")  # keys of a part of a content
IS_THOUGHT = re.compile("think|thought|reason")
# Values of `finish_reason`: `length`, `max_tokens`, `model_length`, `content_filter`, `insufficient_system_resource`, …
CUT = re.compile(
    "length|max|limit|context|truncat|incomplete|abort|cancel|error|filter|safety|recitation|prohibited|blocklist|resource|"
    "time_?out|interrupt|sensitive|guardrail|spii|moderat|block|malformed|refus|unfinished|suspend|pending|network",
    re.IGNORECASE,
)
ENDED = re.compile("stop|eos|end|complete|done|finished", re.IGNORECASE)  # `stop`, `eos_token`, `stop_sequence`, `end_turn`, …
LONGEST_WORD = 40  # characters of a `finish_reason` that are kept


def reply(body: Any, ask: Ask, clean: Callable[[str], str], retries: int) -> Reply:
    """Return the first choice of a completion, each text cleaned; raise an error of Python if the body has another shape."""
    choice = body.choices[0]
    message, reason = choice.message, choice.finish_reason
    parts = message.content if isinstance(message.content, list) else [message.content]
    inline = [part for part in parts if isinstance(part, dict) and _is_thought(part)]
    text = clean(_text([part for part in parts if part not in inline])).lstrip("\ufeff").strip()
    field = next(filter(None, (_text(getattr(message, name, None)) for name in THOUGHTS)), "")
    thoughts = clean(joined(field, _text(inline)))
    if thoughts and f"{text}\n".startswith(f"{thoughts}\n"):  # some servers send thoughts as content too
        text = text.removeprefix(thoughts).strip()
    word = clean(_text(reason.get("type") if isinstance(reason, dict) else reason))[:LONGEST_WORD]
    if not text and (getattr(message, "refusal", None) or any(isinstance(part, dict) and "refusal" in part for part in parts)):
        word = "refusal"
    new_tokens = counted(getattr(body.usage, "completion_tokens", None), about(thoughts + text))
    return Reply(
        text=text,
        thoughts=thoughts,
        finish_reason=word,
        stopped=ended(word, new_tokens, ask.sampling.max_new_tokens),
        prompt_tokens=counted(getattr(body.usage, "prompt_tokens", None), ask.estimate),
        new_tokens=new_tokens,
        retries=retries,
    )


def _is_thought(part: dict[str, Any]) -> bool:
    return bool(IS_THOUGHT.search(str(part.get("type")))) or part.get("thought") is True


def ended(finish_reason: str, new_tokens: int, limit: int) -> bool:
    """Return whether the model ended its answer itself; without a reason of known meaning, fewer tokens than allowed do."""
    if CUT.search(finish_reason):
        return False
    return bool(ENDED.search(finish_reason)) or new_tokens < limit


def _text(content: Any) -> str:
    """Return the text of a content: a text, a part with a text, or a list of them."""
    if isinstance(content, list):
        return "".join(map(_text, content))
    if isinstance(content, dict):
        return next(filter(None, (_text(content.get(key)) for key in TEXTS)), "")
    return content if isinstance(content, str) else ""

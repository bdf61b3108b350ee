"""Control tokens in texts of users and models: what they are, and how they are escaped.

A template alone writes control tokens. One in a message, such as <|im_end|> in a user's text, is divided by BREAK and encoded
as the text it is, so it ends no turn.
"""

import re
from typing import TYPE_CHECKING, get_args

from stages.records import Role

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BREAK, UNKNOWN = "\ufdd0", "\ufffd"  # a Unicode noncharacter that divides tokens; what stands for a character without text
# Added tokens of some models that are text all the same: runs of blanks, words, and tags of HTML (Gemma).
ORDINARY = re.compile(r"[\s\w▁]*|</?(?:[abisu]|em|strong|code|su[bp]|h\d|blockquote|caption|table|t(?:head|body|foot|[hrd]))>")
TAG = re.compile(r"</?(\w+)>")


def patterns(tokenizer: "PreTrainedTokenizerBase") -> dict[Role, re.Pattern[str]]:
    """Return, by the role of a message, the pattern of the beginnings of control tokens in it; a group is a whole token.

    Control tokens are <eos> and the added tokens that are not ordinary text, special or not. Of those that are not special,
    pairs such as <think> and </think> belong to an answer: the model writes them itself, and its template reads them.
    """
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens)
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if not ORDINARY.fullmatch(token.content)}
    special, added = ({*tokens, *(_normalized(tokenizer, token) for token in tokens)} for tokens in (special, added))
    tags = {found[1] for token in added if token.startswith("</") and (found := TAG.fullmatch(token))}
    own = {token for token in added if (found := TAG.fullmatch(token)) and found[1] in tags}
    return {
        **dict.fromkeys(get_args(Role), _beginnings(special | added)),
        "assistant": _beginnings(special | (added - own)),
    }


def _beginnings(tokens: set[str]) -> re.Pattern[str]:
    """Return the pattern of each first character of one of the tokens; tokens of one character, and BREAK, are group 1."""
    rest: dict[str, list[str]] = {}
    for token in sorted(tokens):
        rest.setdefault(token[:1], []).append(re.escape(token[1:]))
    whole = sorted({BREAK} | {token for token in tokens if len(token) == 1})
    longer = [f"{re.escape(first)}(?={'|'.join(filter(None, ends))})" for first, ends in rest.items() if first and any(ends)]
    return re.compile("|".join([*longer, f"({'|'.join(map(re.escape, whole))})"]))


def escaped(tokenizer: "PreTrainedTokenizerBase", role: Role, text: str) -> str:
    """Return the text with BREAK after the first character of each control token; one that cannot be divided is UNKNOWN."""
    pattern = tokenizer.control[role]
    normalized = _normalized(tokenizer, text)
    if normalized != text and len(pattern.findall(normalized)) > len(pattern.findall(text)):
        text = normalized
    return pattern.sub(lambda found: (UNKNOWN if found[1] else found[0]) + BREAK, text)  # a normalizer may drop UNKNOWN


def _normalized(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    """Return the text in which the tokenizer looks for the added tokens that it normalizes: full-width ＜|end|＞ can be one."""
    return str(tokenizer.normalizer.normalize_str(text)) if tokenizer.normalizer else text

"""What of a model's text is its answer: thoughts before it are separated, and what ended without an answer is named."""

import re
from collections import Counter
from collections.abc import Sequence

from stages.records import Call

REFUSED = "refused"  # the `finish_reason` of a request that was never answered
NAMES = r"(?i:(?:\w{1,20}[:_])?think|thinking|thoughts?|reasoning)"
# How models mark their thoughts: most, LongCat and Seed included; Magistral; Kimi; Command A; Gemma; MedGemma; Apertus;
# OpenThinker; gpt-oss, whose control tokens some servers remove, so that "analysis" and "assistantfinal" are left.
TAG = re.compile(
    rf"(?P<open><{NAMES}>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|channel>thought|<unused94>thought|<\|inner_prefix\|>|"
    r"<\|begin_of_thought\|>|(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)<\|message\|>|"
    r'\Aanalysis(?=[A-Z"“]))|'
    rf"</{NAMES}>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<channel\|>|<unused95>|<\|inner_suffix\|>|<\|end_of_thought\|>|"
    r"(?:(?:<\|end\|>)?<\|start\|>assistant)?<\|channel\|>final(?: ?<\|constrain\|>\w{1,20})?<\|message\|>|"
    r"(?<!\s)assistantfinal(?=\S)"
)
# Marks that ordinary answers use too: they open thoughts only at the very beginning, and only their own end closes those.
# Prompts for Claude; Open WebUI and GLM; Granite.
BEGINNING = re.compile(
    r"""\s*(?:<(analysis|reflection|details(?=\s[^<>]{0,200}type=["']?reasoning))(?:\s[^<>]{0,400})?>|"""
    r"Here(?: is|['’]s) my thought process:)(?P<thoughts>.*?)(?:(?(1)</\1>|Here(?: is|['’]s) my response:)|\Z)",
    re.IGNORECASE | re.DOTALL,
)
FENCE = re.compile(r"```[\w-]{0,20}\s{0,20}\Z")
WRAPPED = re.compile(
    r"(?:<(answer|response|output)>|<\|(?:START_RESPONSE|begin_of_solution)\|>)(?P<inner>.*)"
    r"(?:</\1>|<\|(?:END_RESPONSE|end_of_solution)\|>)",
    re.IGNORECASE | re.DOTALL,
)
# Tokens that end a turn, which some servers leave in the text; `</s>` is also the end of HTML's <s>.
END = re.compile(
    r"(?:<\|(?:im_end|end|return|eo[tm]_id|endoftext|end_of_text|END_OF_TURN_TOKEN)\|>|<end_of_turn>|<turn\|>|<eos>|<\|eot\|>|\[EOS\]|\[\|endofturn\|\]|"
    r"<｜end▁of▁sentence｜>|</s>)+\s*\Z"
)
# Quotation marks of one kind; languages differ in which of them opens and which closes: „ja“ „tak” ”joo” »ja« »joo» «oui».
QUOTES = ('"', "“”„‟", "'", "‘’‚‛", "«»", "‹›", "「」", "『』", "｢｣", "〝〞〟", "＂")
IN_WORD = re.compile(r"(?<=\w)['’](?=\w)")
BEFORE = 80  # characters before a tag that decide whether it begins a line


def separated(text: str) -> tuple[str, str]:
    """Return the thoughts in a model's text, and the answer without them.

    A tag at the start of its line opens thoughts, an end tag closes them. Without an end tag, all that follows are thoughts.
    An end tag alone closes all that precedes it: chat templates may write the first tag into the prompt. A tag inside its
    line, in quotes or in a fence is a mention and stays. Marks that answers use too count only at the very beginning, see
    BEGINNING. A token at the end that ends the turn is removed.
    """
    end = END.search(text)
    if end and not (end[0].startswith("</s>") and "<s>" in text):
        text = text[: end.start()]
    thoughts, pieces = [], []
    start, inside, mentioned = 0, False, False
    while found := BEGINNING.match(text, start):
        thoughts.append(found["thoughts"])
        start = found.end()
    for tag in TAG.finditer(text, start):
        before = text[max(start, tag.start() - BEFORE) : tag.start()]
        if not tag["open"]:
            if inside or not (mentioned or before.endswith(tuple("`'\"“‘"))):
                thoughts.append(text[start : tag.start()])
                start, inside = tag.end(), False
            mentioned = False
        elif not inside:
            inside = not before.strip(" \t") or (before.rstrip(" \t").endswith("\n") and not FENCE.search(before))
            mentioned = not inside
            if inside:
                pieces.append(text[start : tag.start()])
                start = tag.end()
    (thoughts if inside else pieces).append(text[start:])
    if not thoughts:
        return "", text
    answer = "".join(pieces).strip()
    wrapped = WRAPPED.fullmatch(answer)
    return joined(*thoughts), wrapped["inner"].strip() if wrapped else answer


def joined(*thoughts: str) -> str:
    return "\n\n".join(filter(None, (one.strip() for one in thoughts)))


def unquoted(text: str) -> str:
    """Return a text without quotation marks around all of it; marks around a part of it stay."""
    inner = text[1:-1].strip()
    kind = next((kind for kind in QUOTES if text[:1] in kind and text[-1:] in kind), "")
    is_part = not set(kind).isdisjoint(IN_WORD.sub("", inner))
    return inner if inner and kind and not is_part else text


def unfinished(call: Call) -> str | None:
    """Return why a call holds no whole answer, or None."""
    if call.finish_reason == REFUSED:
        return "was refused by the server"
    limit = not call.stopped and (not call.finish_reason or re.search("length|max|limit", call.finish_reason, re.IGNORECASE))
    ended = f" (finish_reason {call.finish_reason!r})" if call.finish_reason else ""
    if not call.text and call.thoughts:
        return "is thoughts alone, which used up max_new_tokens" if limit else f"is thoughts alone, without an answer{ended}"
    if not call.text:
        return "is empty and used up max_new_tokens" if limit and ended else f"is empty{ended}"
    if not call.stopped:
        return "was cut off at max_new_tokens" if limit else f"was broken off by the server{ended}"
    return None


def incomplete(calls: Sequence[Call]) -> str:
    """Return how many replies hold no whole answer, and why most of them do not; "" if all do."""
    if not (lost := [reason for call in calls if (reason := unfinished(call))]):
        return ""
    reason, count = Counter(lost).most_common(1)[0]
    return f"{len(lost)} of {len(calls)} replies are incomplete; {count} of them: the reply {reason}"

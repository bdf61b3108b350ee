"""The one place where messages become model text: the same function for training, prediction and export.

`encode` returns token ids and labels of a whole chat, `prompt_ids` the ids of a prompt that waits for its answer. A chat is
tokenised in pieces, cut at the borders between prompt and answer, so that training sees exactly what prediction sees.
An encoder–decoder model reads the prompt in its encoder and writes the answer in its decoder: two sequences instead of one.

Control tokens come from the template alone. One that is written in a message, such as <|im_end|> in a user's text, is encoded
as the text it is, so it ends no turn.
"""

import hashlib
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stages.errors import DataError
from stages.records import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
OPEN, CLOSE = "\ufdd0", "\ufdd1"  # Unicode noncharacters; between them stands a control token that a message holds as text
WRITTEN = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}")
TEMPLATE_SECONDS = 10.0  # of computing; a usual template takes a millisecond
FIXED_DATE = "01 Jan 2025"  # some templates (Llama 3.2) write today's date, which would change the bytes every day
FIXED_CLOCK = "{% macro strftime_now(form) %}" + FIXED_DATE + "{% endmacro %}"  # shadows the clock that transformers passes in


@dataclass
class Encoded:
    """Token ids of one sequence; `labels` equal the ids where the model learns and are IGNORE elsewhere.

    `apart`: for an encoder–decoder model `input_ids` are the prompt alone and `labels` the answer, of its own length.
    """

    input_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    apart: bool = False

    @property
    def length(self) -> int:
        """Return the tokens of the longer side, which a limit on the length applies to."""
        return max(len(self.input_ids), len(self.labels))

    @property
    def supervised(self) -> int:
        return sum(label != IGNORE for label in self.labels)


def encode(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> list[Encoded]:
    """Encode a chat; only assistant turns and their end tokens are supervised.

    Return one sequence, or several if the template rewrites earlier turns (Qwen3 drops their thinking). In that case no
    single sequence shows each turn as the model will see it.
    """
    sequences: list[Encoded] = []
    written = None
    for position, message in enumerate(messages):
        if message.role != "assistant":
            continue
        prompt = render(tokenizer, messages[:position], answer_next=True)
        answer = _answer(tokenizer, messages[: position + 1], prompt)
        if tokenizer.encoder_decoder:
            sequences.append(Encoded(prompt_ids(tokenizer, messages[:position]), _ids(tokenizer, answer), apart=True))
            continue
        if written is None or not prompt.startswith(written):
            sequences.append(Encoded())
            written = ""
        _extend(tokenizer, sequences[-1], prompt.removeprefix(written), supervised=False)
        _extend(tokenizer, sequences[-1], answer, supervised=True)
        written = prompt + answer
    return sequences


def truncated(sequence: Encoded, max_length: int) -> Encoded:
    """Keep the first `max_length` tokens; the end of the answer gets lost."""
    return Encoded(sequence.input_ids[:max_length], sequence.labels[:max_length], sequence.apart)


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> list[int]:
    """Return ids of the messages and of the next answer's header; an encoder's text ends with the end token."""
    ids = _ids(tokenizer, render(tokenizer, messages, answer_next=True))
    return [*ids, tokenizer.eos_token_id] if tokenizer.encoder_decoder else ids


def answer_ids(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> list[int]:
    """Return ids of the chat's last turn, an answer, with its end token."""
    answer = _answer(tokenizer, messages, render(tokenizer, messages[:-1], answer_next=True))
    return _ids(tokenizer, answer)


def stop_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return ids that end an answer: the model's end-of-text token and the template's end of turn."""
    probe = [Message(role="user", content="x"), Message(role="assistant", content="y")]
    last = encode(tokenizer, probe)[-1].labels[-1]
    return sorted({last, tokenizer.eos_token_id} - {None})


def text_ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Return ids of plain text; a control token in it is text."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def control_pattern(tokenizer: "PreTrainedTokenizerBase") -> re.Pattern[str]:
    """Return the pattern of the control tokens: those that the tokenizer calls special, e.g. <|im_end|>, and <eos>."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    longest_first = sorted(special | set(tokenizer.all_special_tokens), key=len, reverse=True)
    return re.compile("|".join(re.escape(token) for token in longest_first) or "(?!)")


def has_control_tokens(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> bool:
    """Return whether a message holds the text of a control token of this model."""
    return any(tokenizer.control.search(message.content) for message in messages)


def render(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], answer_next: bool) -> str:
    """Render the chat with the model's own template, without thinking and with a fixed date.

    Control tokens within messages stand between OPEN and CLOSE.
    """
    if not tokenizer.chat_template:
        raise DataError(
            f"{tokenizer.name_or_path}: this model has no chat template; choose an instruct model, name one in "
            "model.chat_template or save one into its folder"
        )
    turns = [{**turn.model_dump(), "content": tokenizer.control.sub(_enclosed, turn.content)} for turn in messages]
    with _time_limit(f"{tokenizer.name_or_path}: its chat template runs for more than {TEMPLATE_SECONDS:g} s"):
        text = tokenizer.apply_chat_template(
            turns,
            chat_template=FIXED_CLOCK + str(tokenizer.chat_template),
            tokenize=False,
            add_generation_prompt=answer_next,
            enable_thinking=False,
            date_string=FIXED_DATE,
        )
    return str(text)


@contextmanager
def _time_limit(what: str) -> Iterator[None]:
    """Raise DataError in the block after TEMPLATE_SECONDS of computing; without a limit outside the main thread."""
    if threading.current_thread() is not threading.main_thread():  # signals arrive in no other one
        yield
        return

    def stop(*_: object) -> None:
        raise DataError(f"{what}; choose another model or name a template in model.chat_template")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, TEMPLATE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def rendering_hash(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return sha256 of a probe chat as text and ids; equal hashes mean that two stages render alike."""
    probe = [
        Message(role="system", content="s"),
        Message(role="user", content="Ünï 你好"),
        Message(role="assistant", content='{"a": null}'),
        Message(role="user", content="2"),
        Message(role="assistant", content="3"),
    ]
    seen = [(sequence.input_ids, sequence.labels) for sequence in encode(tokenizer, probe)]
    return hashlib.sha256(repr((tokenizer.chat_template, seen)).encode()).hexdigest()


def _enclosed(token: re.Match[str]) -> str:
    return f"{OPEN}{token[0]}{CLOSE}"


def _answer(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], prompt: str) -> str:
    """Return the last turn as the template writes it, with its end token and without white space after it."""
    whole = render(tokenizer, messages, answer_next=False)
    if not whole.startswith(prompt):
        raise DataError(f"{tokenizer.name_or_path}: the chat template writes an answer differently from what it prompts for")
    answer = whole.removeprefix(prompt).rstrip()
    end = str(tokenizer.eos_token)
    return answer if _ends_with_special(tokenizer, answer) else answer + end


def _ends_with_special(tokenizer: "PreTrainedTokenizerBase", text: str) -> bool:
    ids = _ids(tokenizer, text)
    return bool(ids) and ids[-1] in tokenizer.all_special_ids + list(tokenizer.added_tokens_decoder)


def _extend(tokenizer: "PreTrainedTokenizerBase", sequence: Encoded, text: str, supervised: bool) -> None:
    ids = _ids(tokenizer, text)
    sequence.input_ids += ids
    sequence.labels += ids if supervised else [IGNORE] * len(ids)


def _ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Return ids of rendered text, in which a control token is one unless OPEN and CLOSE enclose it."""
    ids: list[int] = []
    for number, piece in enumerate(WRITTEN.split(text)):  # every second piece was enclosed
        ids += text_ids(tokenizer, piece) if number % 2 else tokenizer(piece, add_special_tokens=False)["input_ids"]
    return ids

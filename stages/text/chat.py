"""The one place where messages become model text: the same function for training, prediction and export.

`encode` returns token ids and labels of a whole chat, `prompt_ids` the ids of a prompt that waits for its answer. A chat is
tokenised in pieces, cut at the borders between prompt and answer, so that training sees exactly what prediction sees.
An encoder–decoder model reads the prompt in its encoder and writes the answer in its decoder: two sequences instead of one.

Control tokens come from the template alone: those in messages are escaped (control.py, turns.py).
"""

import hashlib
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from stages.errors import DataError, reason
from stages.records import Message
from stages.text.control import BREAK, escaped
from stages.text.turns import Turn, templated

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
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

    @property
    def answers(self) -> list[list[int]]:
        """Return the tokens of each turn that is trained on, with its end."""
        runs = groupby(self.labels, key=lambda label: label != IGNORE)
        return [list(labels) for is_trained, labels in runs if is_trained]


def encode(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> list[Encoded]:
    """Encode a chat; only trained assistant turns and their end tokens are supervised.

    Return one sequence, or several if the template rewrites earlier turns (Qwen3 drops their thinking). In that case no
    single sequence shows each turn as the model will see it.
    """
    sequences: list[Encoded] = []
    written, turns = None, templated(tokenizer, messages)
    for position, message in enumerate(messages):
        if message.role != "assistant" or not message.trained:
            continue
        prompt, answer = _prompt_and_answer(tokenizer, turns[: position + 1])
        if tokenizer.encoder_decoder:
            sequences.append(Encoded(_prompt_ids(tokenizer, prompt), _ids(tokenizer, answer), apart=True))
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
    return _prompt_ids(tokenizer, render(tokenizer, messages, answer_next=True))


def _prompt_ids(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> list[int]:
    ids = _ids(tokenizer, prompt)
    return [*ids, tokenizer.eos_token_id] if tokenizer.encoder_decoder else ids


def answer_ids(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> list[int]:
    """Return ids of the chat's last turn, an answer, with its end token."""
    return _ids(tokenizer, _prompt_and_answer(tokenizer, templated(tokenizer, messages))[1])


def stop_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return ids that end an answer: the model's end-of-text token and the template's end of turn."""
    probe = [Message(role="user", content="x"), Message(role="assistant", content="y")]
    last = encode(tokenizer, probe)[-1].labels[-1]
    return sorted({last, tokenizer.eos_token_id} - {None})


def text_ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Return ids of plain text as an answer holds it; a control token in it is text."""
    return _ids(tokenizer, escaped(tokenizer, "assistant", text))


def render(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], answer_next: bool) -> str:
    """Render the chat with the model's own template, with a fixed date, and without thoughts unless the prompt thinks.

    Control tokens within messages are escaped.
    """
    thinks = any(turn.thinks for turn in messages[-1:])
    return _rendered(tokenizer, templated(tokenizer, messages), answer_next, thinks)


def _rendered(tokenizer: "PreTrainedTokenizerBase", turns: list[Turn], answer_next: bool, thinking: bool = False) -> str:
    if not tokenizer.chat_template:
        raise DataError(
            f"{tokenizer.name_or_path}: this model has no chat template; choose an instruct model, name one in "
            "model.chat_template or save one into its folder"
        )
    from transformers.utils.chat_template_utils import _compile_jinja_template  # caches templates; runs them in a sandbox

    tools = next((turn["tools"] for turn in reversed(turns) if "tools" in turn), None)  # examples have tools of their own
    if tools:
        turns = [{key: value for key, value in turn.items() if key != "tools"} for turn in turns]
    # apply_chat_template copies every turn at each call, which takes six times as long. These turns are plain text already.
    with _time_limit(f"{tokenizer.name_or_path}: its chat template runs for more than {TEMPLATE_SECONDS:g} s"):
        try:
            template = _compile_jinja_template(FIXED_CLOCK + str(tokenizer.chat_template))  # computes its constants
            text = template.render(
                **tokenizer.special_tokens_map,
                messages=turns,
                tools=tools,
                documents=None,
                add_generation_prompt=answer_next,
                enable_thinking=thinking,
                date_string=FIXED_DATE,
            )
        except Exception as error:  # what a template computes can raise anything
            opening = turns[-1]["content"][:60] if turns else ""
            raise DataError(
                f"{tokenizer.name_or_path}: its chat template cannot write the chat that ends in {opening!r} "
                f"({reason(error)}); leave such rows out, choose another model or name a template in model.chat_template"
            ) from None
    return str(text)


class _TimeIsUp(BaseException):
    """Ends a template; Jinja would catch an Exception while it computes a constant, and continue."""


@contextmanager
def _time_limit(what: str) -> Iterator[None]:
    """Raise DataError in the block after TEMPLATE_SECONDS of computing; without a limit outside the main thread."""
    if threading.current_thread() is not threading.main_thread():  # signals arrive in no other one
        yield
        return

    def stop(*_: object) -> None:
        raise _TimeIsUp

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, TEMPLATE_SECONDS)
    try:
        yield
    except _TimeIsUp:
        raise DataError(f"{what}; choose another model or name a template in model.chat_template") from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def rendering_hash(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return sha256 of a probe chat as text and ids; equal hashes mean that two stages render alike.

    The probe has no system turn if the template refuses one.
    """
    probe = [
        Message(role="system", content="s"),
        Message(role="user", content="Ünï 你好"),
        Message(role="assistant", content='{"a": null}'),
        Message(role="user", content="2"),
        Message(role="assistant", content="3"),
    ]
    try:
        sequences = encode(tokenizer, probe)
    except DataError:
        sequences = encode(tokenizer, probe[1:])
    seen = [(sequence.input_ids, sequence.labels) for sequence in sequences]
    return hashlib.sha256(repr((tokenizer.chat_template, seen)).encode()).hexdigest()


def _prompt_and_answer(tokenizer: "PreTrainedTokenizerBase", turns: list[Turn]) -> tuple[str, str]:
    """Return the last turn as the template writes it, with its end token and without white space after it, after its prompt."""
    thinking = "reasoning" in turns[-1]
    prompt = _rendered(tokenizer, turns[:-1], answer_next=True, thinking=thinking)
    whole = _rendered(tokenizer, turns, answer_next=False, thinking=thinking)
    if not whole.startswith(prompt):
        raise DataError(
            f"{tokenizer.name_or_path}: the chat template writes an answer differently from what it prompts for, which ends in "
            f"{prompt[-20:]!r}; name a template in model.chat_template"
        )
    answer = whole.removeprefix(prompt).rstrip()
    if not _ends(tokenizer, answer):
        if not tokenizer.eos_token:
            raise DataError(
                f"{tokenizer.name_or_path}: no answer would end: the chat template ends none with a control token, and the "
                "tokenizer has no eos_token; set it in tokenizer_config.json or name a template in model.chat_template"
            )
        answer += str(tokenizer.eos_token)
    return prompt, answer


def _ends(tokenizer: "PreTrainedTokenizerBase", answer: str) -> bool:
    """Return whether an answer ends with a control token; an unknown token is none, nor is </think> or <b>."""
    ids = _ids(tokenizer, answer)
    if not ids or ids[-1] == tokenizer.unknown:
        return False
    return bool(tokenizer.control["assistant"].match(str(tokenizer.convert_ids_to_tokens(ids[-1]))))


def _extend(tokenizer: "PreTrainedTokenizerBase", sequence: Encoded, text: str, supervised: bool) -> None:
    ids = _ids(tokenizer, text)
    sequence.input_ids += ids
    sequence.labels += ids if supervised else [IGNORE] * len(ids)


def _ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Return ids of rendered text, in which a control token is one unless BREAK divides it."""
    try:
        pieces = tokenizer(text.split(BREAK), add_special_tokens=False)["input_ids"]  # one call: each takes time of its own
        return [id for ids in pieces for id in ids]
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Rust; no Exception: a pattern in the tokenizer takes too long
            raise
        raise DataError(
            f"{tokenizer.name_or_path}: its tokenizer cannot read the text {text[:60]!r} ({reason(error)}); leave the text out "
            "or use another model"
        ) from None

"""Write the Modelfile with which Ollama serves a GGUF file.

Ollama does not run the chat template in the file. It fills a template of Go in, which is made here from what the model's own
template writes around each turn, and checked against it on prompts of the run.
Format: https://docs.ollama.com/modelfile
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.errors import DataError
from stages.models.loading import LanguageModel
from stages.records import Message, Role
from stages.text import chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLES: tuple[Role, ...] = ("system", "user", "assistant")
SYSTEM, ASKED, GIVEN, AGAIN = (f"Marker{n}" for n in range(4))


@dataclass(frozen=True)
class Frame:
    """What a chat template writes around turns: before and after each, by role.

    `default` opens a chat without a system prompt, `waiting` opens the answer.
    """

    before: dict[Role, str]
    after: dict[Role, str]
    default: str
    waiting: str

    def written(self, prompt: Sequence[Message]) -> str:
        """Return a prompt as Ollama writes it."""
        turns = (self.before.get(turn.role, "") + turn.content + self.after.get(turn.role, "") for turn in prompt)
        return ("" if prompt[0].role == "system" else self.default) + "".join(turns) + self.waiting

    @property
    def go(self) -> str:
        """Return the same as a template of Go."""
        system, user, assistant = (f"{self.before[role]}{{{{ .Content }}}}{self.after[role]}" for role in ROLES)
        default = f'{{{{ if ne (index .Messages 0).Role "system" }}}}{self.default}{{{{ end }}}}' if self.default else ""
        return (
            f'{default}{{{{ range .Messages }}}}{{{{ if eq .Role "system" }}}}{system}{{{{ else if eq .Role "user" }}}}{user}'
            f"{{{{ else }}}}{assistant}{{{{ end }}}}{{{{ end }}}}{self.waiting}"
        )


def modelfile(lm: LanguageModel, name: str, system: str, most: int, prompts: Sequence[Sequence[Message]]) -> str | None:
    """Return the Modelfile of the GGUF file `name`, or None if Ollama's templates cannot write what the model's own does.

    `system` is the system prompt of the training rows, `most` the limit of an answer's tokens. Settings are greedy, as
    predictions are.
    """
    frame = _frame(lm.tokenizer)
    if frame is None or any(frame.written(prompt) != chat.render(lm.tokenizer, prompt, answer_next=True) for prompt in prompts):
        return None
    literals = [*frame.before.values(), *frame.after.values(), frame.default, frame.waiting]
    quoted = (frame.go, system)  # between three quotes, so none may stand at an end either
    if any('"""' in text or text.startswith('"') or text.endswith('"') for text in quoted):
        return None
    if any("{{" in text for text in literals):
        return None
    stops = [str(lm.tokenizer.convert_ids_to_tokens(token)) for token in lm.stop_ids]
    lines = [f"FROM ./{name}", f'TEMPLATE """{frame.go}"""', *([f'SYSTEM """{system}"""'] if system else [])]
    lines += [f'PARAMETER stop "{stop}"' for stop in stops]
    lines += ["PARAMETER temperature 0", "PARAMETER repeat_penalty 1", f"PARAMETER num_predict {most}"]
    return "\n".join(lines) + "\n"


def _frame(tokenizer: "PreTrainedTokenizerBase") -> Frame | None:
    """Return the frame that explains what the template writes for short chats; None if there is none."""
    system, asked = Message(role="system", content=SYSTEM), Message(role="user", content=ASKED)
    given, again = Message(role="assistant", content=GIVEN), Message(role="user", content=AGAIN)
    try:
        opened, after_system, waiting = _around(tokenizer, [system, asked], answer_next=True)
        *_, after_user = _around(tokenizer, [system, asked], answer_next=False)
        *_, after_answer = _around(tokenizer, [asked, given], answer_next=False)
        opening, before_answer, between, _ = _around(tokenizer, [asked, given, again], answer_next=True)
    except (DataError, ValueError):  # a template that refuses a system prompt, or does not write a turn as it is
        return None
    before_user = between.removeprefix(after_answer)
    frame = Frame(
        before={"system": opened, "user": before_user, "assistant": before_answer.removeprefix(after_user)},
        after={"system": after_system.removesuffix(before_user), "user": after_user, "assistant": after_answer},
        default=opening.removesuffix(before_user),
        waiting=waiting.removeprefix(after_user),
    )
    chats = ([asked], [system, asked], [asked, given, again], [system, asked, given, again])
    explained = all(frame.written(turns) == chat.render(tokenizer, turns, answer_next=True) for turns in chats)
    return frame if explained else None


def _around(tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Message], answer_next: bool) -> list[str]:
    """Return the texts before, between and after the contents of the turns; raise ValueError if one is not there."""
    rest, found = chat.render(tokenizer, turns, answer_next), []
    for turn in turns:
        before, marker, rest = rest.partition(turn.content)
        if not marker:
            raise ValueError(turn.content)
        found.append(before)
    return [*found, rest]

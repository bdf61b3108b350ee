"""`tunetrail chat`: ask the untuned and the tuned model side by side, in several turns.

Each system keeps a history of its own, with its own answers. Prompts are rendered and answers decoded as `tunetrail predict`
does both. A line is a question, on a terminal and in a file.
"""

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages import params
from stages.commands.predict import identity, named, texts
from stages.commands.predict import log as logging
from stages.commands.predict.opening import How, System, opened
from stages.errors import DataError
from stages.feedback.records import Answer as Answered
from stages.files import printable, require_regular, unchanged
from stages.models import stored
from stages.models.manifest import MANIFEST, read_manifest
from stages.params import Params
from stages.records import Message, Task
from stages.systems import TUNED
from stages.terminal import visible
from stages.text.prompts import SHOTS, question

if TYPE_CHECKING:
    from stages.generation.decoding import Completion

BEGINNING = b'{"prediction_id": "'  # of every line of a log
BASE, QUIT, NEW = "base_0shot", "/quit", "/new"
HELP = f"A line is a question. {NEW} begins again, {QUIT} ends."


class Log:
    """The file to which answers are added, in the form that feedback is joined with.

    `systems` are the system and the hash of its weights, by the name that the user gave.
    """

    def __init__(self, path: Path, systems: Mapping[str, tuple[str, str]]) -> None:
        self._path, self._systems = path, systems

    def add(self, name: str, messages: Sequence[Message], given: "Completion") -> None:
        system, weights = self._systems[name]
        answer = Answered(
            system=system, weights=weights, messages=tuple(messages), text=printable(given.text), stopped=given.stopped
        )
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(logging.line(answer, logging.now()))


def chat(systems: Sequence[str], log: Path | None = None, constrain: str | None = None) -> None:
    """Answer the lines of standard input until they end, `/quit` or Ctrl-C; `log` gets a JSON line per answer.

    Without `systems` these are the untuned model and, if it has been trained, the first seed's.
    """
    with unchanged(params.PARAMS, MANIFEST, texts.RECOGNISED):
        p = params.read("seeds", "data", "align.method", "predict.max_new_tokens", "predict.constrain")
        folders = _folders(systems, p)
        kept_to = named.constrained(constrain, p, think=False)
        read_manifest()  # raises early if there is none
    if log:
        _require_log(log)
    if missing := texts.lacked(p.data):
        print(visible(f"warning: a line lacks what the prompts in training have: {missing}"), file=sys.stderr)
    with unchanged(SHOTS, named.SCHEMAS, *filter(None, folders.values())):
        weights = {name: identity.short(found) for name, found in identity.weights(folders).items()}
        answering = opened(folders, p, How(think=False, constrain=kept_to))
    logged = Log(log, {name: (named.meant(name, p), weights[name]) for name in folders}) if log else None
    try:
        _converse(answering, p.data.system, logged)
    except KeyboardInterrupt:
        print()


def _folders(systems: Sequence[str], p: Params) -> dict[str, Path | None]:
    """Return the folder of each system's adapter, None for the untuned model."""
    if systems:
        return {name: named.adapter_of(named.meant(name, p), p) for name in systems}
    adapter = stored.adapter_of(p.seeds[0])
    if stored.holds(adapter):
        return {BASE: None, TUNED: adapter}
    print(f"{adapter}: no adapter, so only the untuned model answers; train one with `dvc repro`", file=sys.stderr)
    return {BASE: None}


def _require_log(log: Path) -> None:
    """Raise DataError unless lines can be appended to the file; a line that a kill cut off is removed."""
    require_regular(log)
    if log.suffix.lower() != ".jsonl":
        raise DataError(f"--log {log}: must end in .jsonl")
    try:
        with log.open("a+b") as file:
            file.seek(0)
            last = next((line for line in file if not line.endswith(b"\n")), b"")
            if last and not last.startswith(BEGINNING[: len(last)]):
                raise DataError(f"--log {log}: its last line has no end and is not of a log; name another file")
            file.truncate(file.tell() - len(last))
    except OSError as error:
        raise DataError(f"--log {log}: cannot write: {error.strerror}; name another file") from None


def _converse(systems: Mapping[str, System], system_prompt: str, log: Log | None) -> None:
    """Answer every line; a chat that is too long for a system stays as it is, and the others continue."""
    chats: dict[str, tuple[Message, ...]] = {}
    for line in _lines():
        if line.strip() == QUIT:
            return
        if line.strip() == NEW:
            chats = {}
            continue
        found: dict[str, Completion] = {}
        for name, system in systems.items():
            history = chats.get(name, ())
            task = Task(kind="text", system=system_prompt, history=history, input=line, output="", source="the chat")
            try:
                (found[name],) = system.answers(system.prompts([task]), [task])
            except DataError as error:
                print(visible(f"{name}: {error}, or begin again with {NEW}"), file=sys.stderr)
                continue
            turns = Message(role="user", content=line), Message(role="assistant", content=found[name].text)
            chats[name] = (*history, *turns)
            if log:
                log.add(name, question(task), found[name])
        _show({name: answer.text + ("" if answer.stopped else " […]") for name, answer in found.items()})


def _lines() -> Iterator[str]:
    """Yield the questions: lines that are not blank, after a prompt on a terminal."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    if sys.stdin.isatty():
        import readline  # noqa: F401  # lets input() edit a line and repeat earlier ones

        print(HELP)
    while True:
        try:
            line = input("> ") if sys.stdin.isatty() else sys.stdin.readline()
        except EOFError:
            print()
            return
        if not line and not sys.stdin.isatty():
            return
        if line.strip():
            yield printable(line.rstrip("\r\n"))


def _show(shown: dict[str, str]) -> None:
    """Print the answers, side by side on a terminal and one after the other elsewhere."""
    if not sys.stdout.isatty():
        for name, text in shown.items():
            print(visible(f"{name}: {text}"), flush=True)
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(name, ratio=1) for name in shown), box=SIMPLE, expand=True)
    table.add_row(*(Text(visible(text)) for text in shown.values()))  # no markup: a model may write [bold]
    Console().print(table)

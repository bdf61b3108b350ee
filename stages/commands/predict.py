"""`tunetrail predict`: answer any number of texts with one or several systems, in order and in constant memory.

Rows go to a temporary file next to the output, which is renamed once it has a row per text. After an interruption, a call with
the same input file, systems and weights continues after the last complete batch. Its output has the same bytes as an
uninterrupted run's. Two calls never write one output at the same time.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from stages import locks, params
from stages.errors import DataError
from stages.files import decoded, file_hash, lines, printable, require_regular, unchanged
from stages.models import stored
from stages.models.manifest import MANIFEST, read_manifest
from stages.params import Params
from stages.records import Message, Task, content_hash
from stages.terminal import inert
from stages.text import chat
from stages.text.objects import parsed
from stages.text.prompts import SHOTS, question, shots_of, with_shots

if TYPE_CHECKING:
    from stages.generation.decoding import Completion

SURROGATE = re.compile("[\ud800-\udfff]")


class System(NamedTuple):
    """`prompts` raises DataError for a line that is too long for the model; `answers` answers one batch of prompts."""

    prompts: Callable[[list[Task]], list[list[int]]]
    answers: Callable[[list[list[int]]], "list[Completion]"]


def answer(source: str, target: str, systems: Sequence[str], adapters: Sequence[Path] = ()) -> None:
    """Answer the lines of `source` with every system, or with `adapters` instead; "-" is standard input or output."""
    with ExitStack() as lock:
        with unchanged(params.PARAMS, MANIFEST):
            p = params.read("seeds", "data", "predict.batch_size", "predict.max_new_tokens")
            folders = _folders(source, target, systems, adapters, p)
            if target != "-":
                lock.enter_context(locks.exclusive(Path(target)))
            with unchanged(SHOTS, *filter(None, folders.values())):
                fingerprint, answering = _fingerprint(source, folders, p), _opened(folders, p)
        for task in _checkable(source, p):  # a text that is too long is refused before the first answer
            for system in answering.values():
                system.prompts([task])
        tasks = _tasks(source, p.data.system)
        if target == "-":
            _write(sys.stdout, tasks, answering, p.predict.batch_size)
        else:
            _write_file(Path(target), fingerprint, tasks, answering, p.predict.batch_size)


def _folders(source: str, target: str, systems: Sequence[str], adapters: Sequence[Path], p: Params) -> dict[str, Path | None]:
    """Return the folder of each system, None for a base; raise DataError if something that was named is missing."""
    if not (systems or adapters):
        raise DataError("--system: names no system; use tuned, tuned_<seed> or base_<k>shot")
    if missing := [str(folder) for folder in adapters if not folder.is_dir()]:
        raise DataError(f"--adapter {missing[0]}: no such folder")
    first = f"tuned_{p.seeds[0]}"
    folders = _named(adapters) or {name: _adapter(first if name == "tuned" else name) for name in systems}
    if source != "-" and not Path(source).is_file():
        raise DataError(f"--input {source}: no such file")
    if target != "-":
        require_regular(Path(target))
        if source != "-" and Path(target).exists() and Path(source).samefile(target):
            raise DataError(f"--output {target}: is the file of --input, which the answers would replace; name another")
    for _ in _checkable(source, p):  # raises before the first answer
        pass
    read_manifest()  # raises early if there is none
    for folder in dict.fromkeys(adapters):
        if stored.is_whole(folder):
            stored.check_whole(folder, f"--adapter {folder}")
    return folders


def _write_file(target: Path, fingerprint: str, tasks: Iterator[Task], systems: dict[str, System], batch_size: int) -> None:
    """Write the answers to a temporary file, continue an interrupted one, and rename it once it has a row per text."""
    part = target.with_name(f".{target.name}.{fingerprint}.part")
    kept = _whole_batches(part, batch_size)
    try:
        with part.open("a", encoding="utf-8", newline="\n") as file:
            wanted = kept + _write(file, islice(tasks, kept, None), systems, batch_size)
        if (found := sum(1 for _ in lines(part))) != wanted:
            raise DataError(f"{target}: {found} answers to {wanted} texts, so another program wrote to {part}; run again")
    except DataError:  # a fixed input or system gets a file of another name
        part.unlink(missing_ok=True)
        raise
    part.replace(target)


def _checkable(source: str, p: Params) -> Iterator[Task]:
    """Yield the tasks of a file; nothing for standard input, which can be read only once."""
    return _tasks(source, p.data.system) if source != "-" else iter(())


def _write(file: IO[str], tasks: Iterator[Task], systems: dict[str, System], batch_size: int) -> int:
    """Write a row for each task and return their number."""
    written = 0
    while batch := list(islice(tasks, batch_size)):
        answers = {name: [_row(a) for a in system.answers(system.prompts(batch))] for name, system in systems.items()}
        for position, task in enumerate(batch):
            by_system = {name: rows[position] for name, rows in answers.items()}
            row = by_system if len(by_system) > 1 else next(iter(by_system.values()))
            file.write(inert(printable(json.dumps({"input": task.input, **row}, ensure_ascii=False))) + "\n")
        file.flush()
        written += len(batch)
    return written


def _row(answer: "Completion") -> dict[str, Any]:
    value = parsed(answer.text)
    return {"text": answer.text, "parsed": value, "valid": value is not None}


def _opened(adapters: dict[str, Path | None], p: Params) -> dict[str, System]:
    """Return the systems by the names that the user gave; a base system has no adapter."""
    from stages.generation.decoding import greedy
    from stages.models.loading import open_base
    from stages.models.tuned import open_tuned

    runtime, limit = params.runtime(), p.predict.max_new_tokens

    def opened(name: str, adapter: Path | None) -> System:
        lm = open_tuned(runtime, adapter) if adapter else open_base(runtime)
        shots = [] if adapter else _shots(name)
        room = getattr(lm.model.config, "max_position_embeddings", sys.maxsize) - limit  # T5 has no such limit

        def prompts(tasks: list[Task]) -> list[list[int]]:
            found = [chat.prompt_ids(lm.tokenizer, with_shots(question(task), shots)) for task in tasks]
            for task, prompt in zip(tasks, found, strict=True):
                if len(prompt) > room:
                    raise DataError(
                        f"--input: line {task.source} has {len(prompt)} tokens for --system {name}, but the model reads {room} "
                        f"besides predict.max_new_tokens = {limit}; shorten it"
                    )
            return found

        return System(prompts, lambda batch: greedy(lm, batch, limit))

    return {name: opened(name, adapter) for name, adapter in adapters.items()}


def _shots(system: str) -> list[Message]:
    """Return the examples that precede a base system's prompts; its name holds their number."""
    count = int(system[len("base_") : -len("shot")])
    if count and not SHOTS.is_file():
        raise DataError(f"--system {system}: {SHOTS}: no such file; run `dvc repro format` first")
    turns = shots_of(system)
    if (kept := sum(turn.role == "assistant" for turn in turns)) < count:
        raise DataError(f"--system {system}: {SHOTS} holds {kept} examples; raise format.shots and run `dvc repro`")
    return turns


def _named(folders: Sequence[Path]) -> dict[str, Path | None]:
    """Return the folders by name; a repeated one gets a number after its name, so that it answers again."""
    times = [folders[: place + 1].count(folder) for place, folder in enumerate(folders)]
    return {f"{folder} ({n})" if n > 1 else str(folder): folder for folder, n in zip(folders, times, strict=True)}


def _adapter(system: str) -> Path | None:
    """Return the adapter folder of a tuned system, None for a base system."""
    if system.startswith("base_") and system.endswith("shot") and system[5:-4].isdecimal():
        return None
    if not system.startswith("tuned_"):
        raise DataError(f"--system {system}: unknown; use tuned, tuned_<seed> or base_<k>shot, e.g. base_0shot")
    adapter = stored.adapter_of(system)
    if not adapter.is_dir():
        raise DataError(f"--system {system}: {adapter} does not exist; train it with `dvc repro` or fetch it with `dvc pull`")
    return adapter


def _tasks(source: str, system: str) -> Iterator[Task]:
    """Yield a task per line that is not blank: an object with `input`, optionally `instruction` and `system`, or plain text.

    A line of a .txt file is always text, also where it looks like such an object.
    """
    is_text = source.lower().endswith(".txt")
    texts = decoded(sys.stdin.buffer, source) if source == "-" else lines(Path(source))
    for number, line in enumerate(texts, start=1):
        if not line.strip():
            continue
        row = (None if is_text else parsed(line)) or {"input": line}
        wrong = [key for key, value in row.items() if key in ("input", "instruction", "system") and not isinstance(value, str)]
        if "input" not in row or wrong:
            raise DataError(f'{source}:{number}: must be a text or an object like {{"input": "..."}} with text values')
        request = {key: row[key] for key in ("instruction", "input") if key in row}
        if any(SURROGATE.search(text) for text in (*request.values(), row.get("system", ""))):
            raise DataError(f"{source}:{number}: holds half of an escaped pair such as \\ud83d; write the whole pair")
        yield Task(kind="text", system=row.get("system", system), output="", source=str(number), **request)


def _fingerprint(source: str, adapters: dict[str, Path | None], p: Params) -> str:
    """Return a hash of everything that decides the answers; for standard input, which cannot be hashed yet, the process id."""
    texts = str(os.getpid()) if source == "-" else file_hash(Path(source))
    weights = {
        name: [file_hash(path) for path in (sorted(folder.iterdir()) if folder else [SHOTS]) if path.is_file()]
        for name, folder in adapters.items()
    }
    options = [p.data.system, p.predict.batch_size, p.predict.max_new_tokens]
    return content_hash([texts, weights, file_hash(MANIFEST), *options])[:12]


def _whole_batches(part: Path, batch_size: int) -> int:
    """Cut the file of an interrupted run after its last complete batch and return the number of rows kept."""
    if not part.is_file():
        return 0
    rows, size, kept, length = 0, 0, 0, 0
    with part.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            rows, size = rows + 1, size + len(line)
            if rows % batch_size == 0:
                kept, length = rows, size
        file.truncate(length)
    return kept

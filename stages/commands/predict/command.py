"""`tunetrail predict`: answer any number of texts with one or several systems, in order and in constant memory.

Rows go to a temporary file next to the output, which becomes the output once it has a row per text. After an interruption, a
call with the same input file, systems and weights continues after the last complete batch. Its output has the same bytes as
an uninterrupted run's. Two calls never write one output at the same time.
"""

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Any

from stages import locks, params
from stages.commands.predict import answers, chosen, named, opening, texts
from stages.commands.predict.named import NAMED, SCHEMAS
from stages.commands.predict.opening import How, System
from stages.commands.predict.texts import Asked
from stages.errors import DataError
from stages.files import file_hash, lines, unchanged
from stages.models import stored
from stages.models.manifest import MANIFEST, read_manifest
from stages.params import Params
from stages.records import content_hash
from stages.systems import ALIGNED, TUNED
from stages.terminal import visible
from stages.text.prompts import SHOTS


def answer(
    source: str,
    target: str,
    systems: Sequence[str],
    adapters: Sequence[Path] = (),
    think: bool = False,
    constrain: str | None = None,
    column: str | None = None,
) -> None:
    """Answer the rows of `source` with every system, or with `adapters` instead; "-" is standard input or output.

    With `column`, each row names its own adapter in adapters/users/ instead.

    With `think` their chat template asks for thoughts first, which get a column of their own. `constrain` is json,
    copied, none or the default: where answers are JSON objects, unless thoughts precede them, copied if `predict.constrain` is
    that, otherwise json.
    """
    with ExitStack() as lock:
        with unchanged(params.PARAMS, MANIFEST, texts.RECOGNISED):
            p = params.read(
                "seeds", "data", "align.method", "predict.batch_size", "predict.max_new_tokens", "predict.constrain"
            )
            if column is None:
                folders = _folders(systems, adapters, p)
            _require_files(source, target)
            made = answers.columns(folders if column is None else [column], named.of_object(p.data), think)
            if column is not None:
                folders = _chosen(source, column, p, made)
            for folder in dict.fromkeys(adapters):
                if stored.is_whole(folder):
                    stored.check_whole(folder, f"--adapter {folder}")
            how = How(think, named.constrained(constrain, p, think))
            _print_unread(source, _checkable(source, p, made), p, column)  # raises before anything is loaded
            if target != "-":
                lock.enter_context(locks.exclusive(Path(target)))
            with unchanged(SHOTS, SCHEMAS, *filter(None, folders.values())):
                fingerprint, answering = _fingerprint(source, folders, p, how, column), opening.opened(folders, p, how)
        for asked in _checkable(source, p, made):  # a text that is too long is refused before the first answer
            for name in answering if column is None else [str(chosen.folder_of(asked, column))]:
                answering[name].prompts([asked.task])
        rows = texts.read(source, p.data, made)
        if target == "-":
            _write(sys.stdout, rows, answering, p, column)
        else:
            _write_file(Path(target), fingerprint, rows, answering, p, column)


def _require_files(source: str, target: str) -> None:
    """Raise DataError unless there is an input, and the output may be written."""
    if source != "-" and not Path(source).is_file():
        what = "not a regular file; give a pipe as standard input, with --input -" if Path(source).exists() else "no such file"
        raise DataError(f"--input {source}: {what}")
    if target != "-":
        if source != "-" and Path(target).exists() and Path(source).samefile(target):
            raise DataError(f"--output {target}: is the file of --input, which the answers would replace; name another")
        answers.require_form(Path(target))
    read_manifest()  # raises early if there is none


def _folders(systems: Sequence[str], adapters: Sequence[Path], p: Params) -> dict[str, Path | None]:
    """Return the folder of each system, None for a base; raise DataError if something that was named is missing."""
    if not (systems or adapters):
        raise DataError(f"--system: names no system; use {NAMED}")
    if missing := [str(folder) for folder in adapters if not folder.is_dir()]:
        raise DataError(f"--adapter {missing[0]}: no such folder")
    means = {name: f"{name}_{p.seeds[0]}" for name in (TUNED, ALIGNED)}  # answered by the first seed's model
    return _named(adapters) or {name: named.adapter_of(means.get(name, name), p) for name in systems}


def _chosen(source: str, column: str, p: Params, made: Collection[str]) -> dict[str, Path | None]:
    """Return the adapters that the rows of a file name in a column."""
    if source == "-":
        raise DataError("--adapter-column: all adapters are checked before the first answer, so --input must be a file")
    return {**chosen.folders(_checkable(source, p, made), column)}


def _print_unread(source: str, rows: Iterator[Asked], p: Params, column: str | None) -> None:
    passed = dict.fromkeys(name for asked in rows for name in asked.row)
    if further := [name for name in passed if name not in {"input", column, *texts.columns(p.data).read.values()}]:
        print(visible(f"{source}: columns that are not read, but kept in the output: {', '.join(further)}"), file=sys.stderr)


def _checkable(source: str, p: Params, made: Collection[str]) -> Iterator[Asked]:
    """Yield the rows of a file; nothing for standard input, which can be read only once."""
    return texts.read(source, p.data, made) if source != "-" else iter(())


def _write_file(
    target: Path, fingerprint: str, rows: Iterator[Asked], systems: dict[str, System], p: Params, column: str | None
) -> None:
    """Write the answers to a temporary file, continue an interrupted one, and rename it once it has a row per text."""
    part = target.with_name(f".{target.name}.{fingerprint}.part")
    kept = answers.whole_batches(part, p.predict.batch_size)
    try:
        with part.open("a", encoding="utf-8", newline="\n") as file:
            wanted = kept + _write(file, islice(rows, kept, None), systems, p, column)
        if (found := sum(1 for _ in lines(part))) != wanted:
            raise DataError(f"{target}: {found} answers to {wanted} texts, so another program wrote to {part}; run again")
        answers.finish(part, target, systems if len(systems) > 1 and column is None else ())
    except OSError as error:
        hint = "make room and run again: complete batches of answers are kept"
        raise DataError(f"{target}: cannot write: {error.strerror}; {hint}") from None
    except DataError:  # a fixed input or system gets a file of another name
        part.unlink(missing_ok=True)
        raise


def _write(file: IO[str], rows: Iterator[Asked], systems: dict[str, System], p: Params, column: str | None) -> int:
    """Write a row for each text and return their number."""
    written, of_object = 0, named.of_object(p.data)
    while batch := list(islice(rows, p.predict.batch_size)):
        for asked, given in zip(batch, _given(batch, systems, of_object, column), strict=True):
            file.write(answers.line({**asked.row, **given}))
        file.flush()
        written += len(batch)
    return written


def _given(batch: Sequence[Asked], systems: dict[str, System], of_object: bool, column: str | None) -> list[dict[str, Any]]:
    """Return the columns of the answers to each row; with `column`, rows of one adapter are answered together."""

    def by(system: System, rows: Sequence[Asked]) -> list[dict[str, Any]]:
        tasks = [asked.task for asked in rows]
        return [answers.answer(a.text, of_object, system.marks) for a in system.answers(system.prompts(tasks), tasks)]

    if column is None:
        given = {name: by(system, batch) for name, system in systems.items()}
        found = [{name: of[place] for name, of in given.items()} for place in range(len(batch))]
        return found if len(given) > 1 else [next(iter(row.values())) for row in found]
    groups: dict[str, list[int]] = {}
    for place, asked in enumerate(batch):
        groups.setdefault(str(chosen.folder_of(asked, column)), []).append(place)
    one: dict[int, dict[str, Any]] = {}
    for name, places in groups.items():
        one |= zip(places, by(systems[name], [batch[place] for place in places]), strict=True)
    return [one[place] for place in range(len(batch))]


def _named(folders: Sequence[Path]) -> dict[str, Path | None]:
    """Return the folders by name; a repeated one gets a number after its name, so that it answers again."""
    times = [folders[: place + 1].count(folder) for place, folder in enumerate(folders)]
    return {f"{folder} ({n})" if n > 1 else str(folder): folder for folder, n in zip(folders, times, strict=True)}


def _fingerprint(source: str, adapters: dict[str, Path | None], p: Params, how: How, column: str | None) -> str:
    """Return a hash of everything that decides the answers; for standard input, which cannot be hashed yet, the process id."""
    given = str(os.getpid()) if source == "-" else file_hash(Path(source))
    weights = {
        name: [file_hash(path) for path in (sorted(folder.iterdir()) if folder else [SHOTS]) if path.is_file()]
        for name, folder in adapters.items()
    }
    fields = file_hash(SCHEMAS) if how.constrain != "none" and SCHEMAS.is_file() else ""
    options = [
        texts.columns(p.data).read,
        p.data.model_dump(),
        p.predict.batch_size,
        p.predict.max_new_tokens,
        *how,
        fields,
        column,
    ]
    return content_hash([given, weights, file_hash(MANIFEST), *options])[:12]

"""`tunetrail predict`: answer any number of texts with one or several systems, in order and in constant memory.

Rows go to a temporary file next to the output, which becomes the output once it has a row per text. After an interruption, a
call with the same input file, systems and weights continues after the last complete batch. Its output has the same bytes as
an uninterrupted run's. Two calls never write one output at the same time.
"""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO

from stages import locks, params
from stages.commands.predict import answers, chosen, identity, named, opening, texts
from stages.commands.predict.answers import Given
from stages.commands.predict.log import Log, require_place
from stages.commands.predict.named import NAMED, SCHEMAS
from stages.commands.predict.opening import How, System
from stages.commands.predict.texts import Asked
from stages.errors import DataError
from stages.files import lines, unchanged
from stages.models import stored
from stages.models.manifest import MANIFEST, read_manifest
from stages.params import Params
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
    log: Path | None = None,
) -> None:
    """Answer the rows of `source` with every system, or with `adapters` instead; "-" is standard input or output.

    With `column`, each row names its own adapter in adapters/users/ instead.

    With `think` their chat template asks for thoughts first, which get a column of their own. `constrain` is json,
    copied, none or the default: where answers are JSON objects, unless thoughts precede them, copied if `predict.constrain` is
    that, otherwise json. With `log` every answer gets a `prediction_id`, and the file holds what that stands for.
    """
    with ExitStack() as lock:
        with unchanged(params.PARAMS, MANIFEST, texts.RECOGNISED):
            p = params.read(
                "seeds", "data", "align.method", "predict.batch_size", "predict.max_new_tokens", "predict.constrain"
            )
            if column is None:
                folders = _folders(systems, adapters, p)
            _require_files(source, target)
            made = answers.columns(folders if column is None else [column], named.of_object(p.data), think, bool(log))
            if log:
                require_place(log, source, target)
            if column is not None:
                folders = _chosen(source, column, p, made)
            for folder in dict.fromkeys(adapters):
                if stored.is_whole(folder):
                    stored.check_whole(folder, f"--adapter {folder}")
            how = How(think, named.constrained(constrain, p, think))
            _print_unread(source, _checkable(source, p, made), p, column)  # raises before anything is loaded
            if target != "-":
                lock.enter_context(locks.exclusive(Path(target)))
            if log:
                lock.enter_context(locks.exclusive(log))
            with unchanged(SHOTS, SCHEMAS, *filter(None, folders.values())):
                weights = identity.weights(folders)
                fingerprint = identity.fingerprint(source, weights, p, how, column, bool(log))
                answering = opening.opened(folders, p, how)
        for asked in _checkable(source, p, made):  # a text that is too long is refused before the first answer
            for name in answering if column is None else [str(chosen.folder_of(asked, column))]:
                answering[name].prompts([asked.task])
        rows = texts.read(source, p.data, made)
        known = {name: (named.meant(name, p), identity.short(found)) for name, found in weights.items()}
        logged = Log(log, fingerprint, known, len(folders) if column is None else 1) if log else None
        if target == "-":
            if logged:
                logged.discard()
            _write(sys.stdout, rows, answering, p, column, logged)
        else:
            _write_file(Path(target), fingerprint, rows, answering, p, column, logged)
        if logged:
            logged.finish()


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
    return _named(adapters) or {name: named.adapter_of(named.meant(name, p), p) for name in systems}


def _chosen(source: str, column: str, p: Params, made: Collection[str]) -> dict[str, Path | None]:
    """Return the adapters that the rows of a file name in a column."""
    if source == "-":
        raise DataError("--adapter-column: all adapters are checked before the first answer, so --input must be a file")
    return {**chosen.folders(_checkable(source, p, made), column)}


def _print_unread(source: str, rows: Iterator[Asked], p: Params, column: str | None) -> None:
    passed = dict.fromkeys(name for asked in rows for name in asked.row)
    if source != "-" and not passed:  # every text has a column
        print(visible(f"{source}: holds no text, so there is nothing to answer"), file=sys.stderr)
    if further := [name for name in passed if name not in {"input", column, *texts.columns(p.data).read.values()}]:
        print(visible(f"{source}: columns that are not read, but kept in the output: {', '.join(further)}"), file=sys.stderr)


def _checkable(source: str, p: Params, made: Collection[str]) -> Iterator[Asked]:
    """Yield the rows of a file; nothing for standard input, which can be read only once."""
    return texts.read(source, p.data, made) if source != "-" else iter(())


def _write_file(
    target: Path,
    fingerprint: str,
    rows: Iterator[Asked],
    systems: dict[str, System],
    p: Params,
    column: str | None,
    log: Log | None,
) -> None:
    """Write the answers to a temporary file, continue an interrupted one, and rename it once it has a row per text."""
    part = target.with_name(f".{target.name}.{fingerprint}.part")
    kept = answers.whole_batches(part, p.predict.batch_size)
    if log and not log.keep(kept):  # of a log that was deleted: its answers are given again
        kept = 0
        log.discard()
        part.unlink()
    try:
        with part.open("a", encoding="utf-8", newline="\n") as file:
            wanted = kept + _write(file, islice(rows, kept, None), systems, p, column, log)
        if (found := sum(1 for _ in lines(part))) != wanted:
            raise DataError(f"{target}: {found} answers to {wanted} texts, so another program wrote to {part}; run again")
        answers.finish(part, target, systems if len(systems) > 1 and column is None else ())
    except OSError as error:
        hint = "make room and run again: complete batches of answers are kept"
        raise DataError(f"{target}: cannot write: {error.strerror}; {hint}") from None
    except DataError:  # a fixed input or system gets a file of another name
        part.unlink(missing_ok=True)
        if log:
            log.discard()
        raise


def _write(
    file: IO[str], rows: Iterator[Asked], systems: dict[str, System], p: Params, column: str | None, log: Log | None
) -> int:
    """Write a row for each text and return their number."""
    written, of_object = 0, named.of_object(p.data)
    several = column is None and len(systems) > 1
    while batch := list(islice(rows, p.predict.batch_size)):
        found = _given(batch, systems, of_object, column)
        if log:
            log.add([(asked.task, given) for asked, given in zip(batch, found, strict=True)])
        for asked, given in zip(batch, found, strict=True):
            columns = {name: one.columns for name, one in given.items()}
            file.write(answers.line({**asked.row, **(columns if several else next(iter(columns.values())))}))
        file.flush()
        written += len(batch)
    return written


def _given(
    batch: Sequence[Asked], systems: dict[str, System], of_object: bool, column: str | None
) -> list[Mapping[str, Given]]:
    """Return the answers to each row by system; with `column`, rows of one adapter are answered together."""

    def by(system: System, rows: Sequence[Asked]) -> list[Given]:
        tasks = [asked.task for asked in rows]
        found = system.answers(system.prompts(tasks), tasks)
        return [Given(answers.answer(one.text, of_object, system.marks), one.stopped) for one in found]

    if column is None:
        given = {name: by(system, batch) for name, system in systems.items()}
        return [{name: of[place] for name, of in given.items()} for place in range(len(batch))]
    groups: dict[str, list[int]] = {}
    for place, asked in enumerate(batch):
        groups.setdefault(str(chosen.folder_of(asked, column)), []).append(place)
    one: dict[int, Mapping[str, Given]] = {}
    for name, places in groups.items():
        answered = by(systems[name], [batch[place] for place in places])
        one |= {place: {name: given} for place, given in zip(places, answered, strict=True)}
    return [one[place] for place in range(len(batch))]


def _named(folders: Sequence[Path]) -> dict[str, Path | None]:
    """Return the folders by name; a repeated one gets a number after its name, so that it answers again."""
    times = [folders[: place + 1].count(folder) for place, folder in enumerate(folders)]
    return {f"{folder} ({n})" if n > 1 else str(folder): folder for folder, n in zip(folders, times, strict=True)}

"""`--adapter-column`: each row names the adapter in adapters/users/ that answers it."""

from collections.abc import Iterable
from pathlib import Path

from stages.commands.adapters import LONGEST, NAME, USERS
from stages.commands.predict.texts import Asked
from stages.errors import DataError
from stages.files import how_to_pull


def folder_of(asked: Asked, column: str) -> Path:
    """Return the folder that a row names; raise DataError unless its value is a plain name, which no path is."""
    if column not in asked.row:
        there = ", ".join(asked.row)
        raise DataError(f"{asked.task.source}: --adapter-column {column}: no such column; there are {there}")
    name = asked.row[column]
    if name is None or name == "":
        raise DataError(f"{asked.task.source}: --adapter-column {column}: names no adapter; fill it in")
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > LONGEST:
        raise DataError(
            f"{asked.task.source}: --adapter-column {column}: {str(name)[:LONGEST]!r} is not a name; "
            "give that of a folder in adapters/users/: letters, digits, `_`, `.`, `-`"
        )
    return USERS / name


def folders(rows: Iterable[Asked], column: str) -> dict[str, Path]:
    """Return the folders that rows name, by name; raise DataError with the place of the first row whose folder is missing."""
    found: dict[str, Path] = {}
    for asked in rows:
        folder = folder_of(asked, column)
        if str(folder) not in found and not folder.is_dir():
            how = how_to_pull(folder) or f"store one with `tunetrail keep {USERS.name}/{folder.name}`"
            raise DataError(f"{asked.task.source}: --adapter-column {column}: {folder}: no such folder; {how}")
        found[str(folder)] = folder
    return found

"""Read and write text, JSON and YAML: errors name file and line, and a file is written completely or not at all."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stages.errors import DataError
from stages.terminal import inert

MOST_VALUES = 100_000  # in a YAML file, those of an alias each time
LONGEST_NUMBER = 1000  # digits of an integer in a YAML file


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 text file without line ends (\\n or \\r\\n) and without a byte order mark."""
    try:
        if path.exists() and not path.is_file():  # a pipe may never end, a device never does
            raise DataError(f"{path}: not a regular file; name one")
        with path.open("rb") as file:
            yield from decoded(file, str(path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}") from None


def decoded(file: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield the lines of an open file as `lines` does; an error gives it this name."""
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{name}:{number}: not UTF-8; save the file as UTF-8") from error


def read_json(path: Path) -> Any:
    """Return the value in a JSON file; raise DataError with the line if it is not JSON."""
    try:
        return json.loads("\n".join(lines(path)))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # an integer of 5,000 digits, or thousands of lists in each other
        raise DataError(f"{path}: cannot be read as JSON: {error}; write the file again") from None


def read_yaml(content: bytes | str, where: str) -> Any:
    """Return a value read as YAML 1.2, as DVC does (1e-3 is a number); a DataError names `where` and the line.

    Aliases may repeat values, but not make more than MOST_VALUES of a few lines.
    """
    from ruamel.yaml import YAML, YAMLError
    from ruamel.yaml.error import ReusedAnchorWarning

    try:
        reader = YAML(typ="safe", pure=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)  # YAML 1.2 allows it
            node = reader.compose(content.decode() if isinstance(content, bytes) else content)
        if _count(node, {}) > MOST_VALUES:  # before `<<: *alias` copies them
            raise DataError(f"{where}: its aliases make more than {MOST_VALUES:,} values; write values out")
        return None if node is None else reader.constructor.construct_document(node)
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8; save the file as UTF-8") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise DataError(f"{where}{line}: not YAML: {getattr(error, 'problem', error)}") from None
    except RecursionError:
        raise DataError(f"{where}: nested too deeply, or an alias holds itself; write fewer levels") from None
    except (ValueError, TypeError) as error:  # an integer of 5,000 digits, a date such as 2024-02-31, a list as a key
        raise DataError(f"{where}: holds a value that cannot be read: {error}; quote it or write it differently") from None


def _count(node: Any, known: dict[int, int]) -> int:
    """Return the number of values in a YAML node, those of an alias each time; `known` spares counting them again."""
    parts: Any = getattr(node, "value", "")
    if not isinstance(parts, list):  # a scalar
        if len(parts) > LONGEST_NUMBER and node.tag.endswith(":int"):  # Python reads 0xfff..., but cannot print it
            raise ValueError(f"an integer of {len(parts):,} digits")
        return 1
    if id(node) not in known:
        pairs = (part if isinstance(part, tuple) else (part,) for part in parts)
        known[id(node)] = 1 + sum(_count(part, known) for pair in pairs for part in pair)
    return known[id(node)]


def printable(text: str) -> str:
    """Replace half a surrogate pair, which a model can write as \\ud800 and UTF-8 cannot, by a question mark."""
    return text.encode("utf-8", "replace").decode()


def write_json(path: Path, value: Any) -> None:
    write_text(path, inert(json.dumps(value, ensure_ascii=False, indent=2)) + "\n")


def write_text(path: Path, text: str) -> None:
    write_parts(path, (text,))


def write_parts(path: Path, parts: Iterable[str]) -> None:
    """Write next to the file, then rename: a killed or failed run leaves the old file or none, never a partial one."""
    require_regular(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", errors="replace", newline="\n") as file:  # a file name may be no UTF-8
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot write: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def how_to_pull(path: Path) -> str:
    """Return how to get a file or folder that DVC tracks from the remote; "" if DVC does not track it by itself."""
    pointer = path.with_name(f"{path.name}.dvc")
    return f"get it from the remote with `dvc pull {pointer}`" if pointer.is_file() else ""


def require_regular(path: Path) -> None:
    """Raise DataError if a file written there would replace a device, a pipe or a folder."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a regular file, so it is not replaced; name another")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` when the block ends; after an error or a kill the old one remains."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def unchanged(*places: Path) -> Iterator[None]:
    """Raise DataError if another process writes one of these files or folders while the block reads them."""
    before = {place: _state(place) for place in places}
    try:
        yield
    except Exception:
        _compare(before)  # an error in a file that was just replaced is not the cause
        raise
    _compare(before)


def _compare(before: dict[Path, Any]) -> None:
    if changed := [place for place, state in before.items() if _state(place) != state]:
        raise DataError(f"{changed[0]}: another process changed it while it was read; wait until that ends and run again")


def _state(place: Path) -> list[tuple[str, int, int, int]]:
    paths = sorted(place.rglob("*")) if place.is_dir() else [place]
    found = []
    for path in paths:
        with suppress(FileNotFoundError):
            stat = path.stat()
            found.append((str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return found


def links_out(folder: Path) -> list[Path]:
    """Return the links below a folder that lead out of it or nowhere."""
    inside, links = os.path.realpath(folder), [path for path in sorted(folder.rglob("*")) if path.is_symlink()]
    return [path for path in links if not path.exists() or not Path(os.path.realpath(path)).is_relative_to(inside)]


def pipes(folder: Path) -> list[Path]:
    """Return what is neither a file nor a folder below a folder: reading a named pipe or a device may never end."""
    return [path for path in sorted(folder.rglob("*")) if path.exists() and not path.is_file() and not path.is_dir()]


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()

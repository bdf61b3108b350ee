"""Records that wait on disk, not in memory, and can be read as often as needed."""

import errno
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from stages.errors import DataError
from stages.records import Record, read

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Spool(Collection[R]):
    """Records in a temporary file without a name, in their order: a kill leaves none of their texts behind."""

    def __init__(self, model: type[R], records: Iterable[R] = ()) -> None:
        self._model, self._count = model, 0
        with self._writing():
            self._file = tempfile.TemporaryFile("w", encoding="utf-8", newline="\n")  # noqa: SIM115 open as long as the spool
        for record in records:
            self.append(record)

    def append(self, record: R) -> None:
        with self._writing():
            self._file.write(record.model_dump_json(exclude_defaults=True) + "\n")
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[R]:
        with self._writing():
            self._file.flush()
        yield from read(Path(f"/proc/self/fd/{self._file.fileno()}"), self._model)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            is_limit = error.errno in (errno.EMFILE, errno.ENFILE)
            hint = "raise the limit with `ulimit -n`" if is_limit else "set TMPDIR to a folder with more space"
            raise DataError(f"{tempfile.gettempdir()}: cannot write a temporary file: {error.strerror}; {hint}") from None

    def __contains__(self, record: object) -> bool:
        return any(record == other for other in self)


class Again(Generic[T]):
    """What a function yields, from the beginning at each iteration."""

    def __init__(self, start: Callable[[], Iterator[T]]) -> None:
        self._start = start

    def __iter__(self) -> Iterator[T]:
        return self._start()

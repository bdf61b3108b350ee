"""Fixtures that tests of several folders share, and the order of the files."""

import gc
import os
from collections.abc import Iterator
from functools import partial

import pytest
from jinja2 import Environment, FileSystemBytecodeCache

from stages import pages

pytest_plugins = [f"tests.fixtures.{name}" for name in ("composing", "hub", "serving", "smoke", "tiny_model", "warm")]


PLACES = {"test_smoke": 0, "test_requests": 2, "e2e": 2, "tests": 3}  # of files and folders; of others 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the smoke experiment first and the files that start from it later, so that no worker waits for it.

    The short files in tests/ itself are last, so that the workers end together.
    """
    items.sort(key=lambda item: PLACES.get(item.path.stem, PLACES.get(item.path.parent.name, 1)))


def pytest_xdist_auto_num_workers() -> int:
    """Start one worker more than there are processors: in a fifth of the time one waits for dvc or another process."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish() -> None:
    """Take what the libraries made out of later collections of garbage: each training starts one, which took 0.4 s."""
    gc.freeze()


@pytest.fixture(scope="module")
def in_bf16() -> Iterator[None]:
    """Let models compute in bf16 and fp16 also on a processor that is slow in them, as the numbers of a test need it."""
    from stages import device

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "multiplies", lambda precision: True)
        yield


@pytest.fixture(scope="session", autouse=True)
def _without_sync() -> Iterator[None]:
    """Leave files to the system's cache: only a power failure would show the difference, and a disk takes milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _compiled_templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compile each template of a page once: it takes two thirds of the time of a report."""
    kept = FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "Environment", partial(Environment, bytecode_cache=kept))
        yield

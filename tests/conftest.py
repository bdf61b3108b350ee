"""Fixtures that tests of several folders share, and the order of the files."""

import os
from collections.abc import Iterator

import pytest

pytest_plugins = [f"tests.fixtures.{name}" for name in ("composing", "hub", "smoke", "tiny_model", "warm")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the smoke experiment first and the files that start from it later, so that no worker waits for it.

    The short files in tests/ itself are last, so that the workers end together.
    """

    def place(item: pytest.Item) -> int:
        folders = {"e2e": 2, "tests": 3}
        return 0 if item.path.stem == "test_smoke" else folders.get(item.path.parent.name, 1)

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _without_sync() -> Iterator[None]:
    """Leave files to the system's cache: only a power failure would show the difference, and a disk takes milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield

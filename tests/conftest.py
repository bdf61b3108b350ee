"""Fixtures that tests of several folders share, and the order of the files."""

import pytest

pytest_plugins = [f"tests.fixtures.{name}" for name in ("composing", "hub", "smoke", "tiny_model")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the smoke experiment first and the files that start from it last, so that no worker waits for it."""
    items.sort(key=lambda item: 0 if item.path.stem == "test_smoke" else 2 if item.path.parent.name == "e2e" else 1)

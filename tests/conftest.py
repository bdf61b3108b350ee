"""Fixtures that tests of several rooms share."""

pytest_plugins = ["tests.fixtures.hub", "tests.fixtures.tiny_model"]

"""A graph of 24 subjects, and what fetch and Self-KG make of it."""

import pytest

from stages.fetch import graph
from stages.params import GraphData
from stages.synthesize.made import Made
from tests.fixtures.graphs import Fetched, facts_of, settings, synthesized


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> GraphData:
    return settings(tmp_path_factory.mktemp("graph") / "g", facts_of(24))


@pytest.fixture(scope="module")
def fetched(data: GraphData) -> Fetched:
    return graph.questions(data, 1)


@pytest.fixture(scope="module")
def made(data: GraphData, fetched: Fetched) -> Made:
    return synthesized(data, fetched)

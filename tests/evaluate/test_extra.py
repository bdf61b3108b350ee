"""Further metrics by name: their numbers join the totals; without the hub there is one line that says what to do."""

from typing import Any

import pytest

from stages.errors import DataError
from stages.evaluate import extra

COMMIT = "0123456789" * 4
evaluate = pytest.importorskip("evaluate")
datasets = pytest.importorskip("datasets")


class Lengths(evaluate.Metric):  # type: ignore[misc, name-defined]
    """A metric of the hub's kind, made here so that it needs no network."""

    def _info(self) -> Any:
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        return {"lengths": sum(map(len, predictions)), "each": [len(text) for text in predictions], "hash": "no number"}


def test_numbers_of_a_named_metric_join_the_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr(evaluate, "load", lambda name, revision: loaded.append((name, revision)) or Lengths())
    assert extra.totals([f"lengths@{COMMIT}"], ["ab", "abcd"], ["x", "y"]) == {"lengths": 6.0, "lengths_each": 3.0}
    assert loaded == [("lengths", COMMIT)]


def test_without_the_hub_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    with pytest.raises(DataError) as refused:
        extra.totals([f"no_such_metric@{COMMIT}"], ["a"], ["b"])
    assert str(refused.value).startswith("evaluate.extra: no_such_metric cannot be loaded; it needs the Hugging Face hub")
    assert "\n" not in str(refused.value)


def test_no_names_import_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "load", lambda *_, **__: pytest.fail("loaded"))
    assert extra.totals([], ["a"], ["b"]) == {}

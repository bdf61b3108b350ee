"""KTO: learns from both sides of pairs and from single votes, starting at the reference."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from stages import params, records
from stages.errors import DataError
from stages.params import compose
from tests.fixtures.aligning import Killed, align, align_killed, cost, figures
from tests.fixtures.training import contents

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def finished(prepared, tmp_path_factory) -> Path:
    return align(prepared(tmp_path_factory.mktemp("kto") / "root", "align=kto"))


def test_resumed_run_equals_uninterrupted(finished, prepared, tmp_path) -> None:
    killed = align_killed(prepared(tmp_path / "killed", "align=kto"))
    assert contents(killed / "models/42/aligned") == contents(finished / "models/42/aligned")
    assert figures(killed) == figures(finished)


def test_votes_and_pairs_are_learned(finished) -> None:
    root = finished
    found = figures(root)
    assert found["pairs"] == 2 * 8 + 2
    assert found["log"][0]["loss"] == pytest.approx(0.5, abs=0.01)  # 1 - sigmoid(0)
    assert [look["step"] for look in found["looks"]] == [0, 2, 4]
    assert found["looks"][-1]["pair_accuracy"] == 1.0
    assert contents(root / "models/42/adapter") != contents(root / "models/42/aligned")


def test_run_killed_while_storing_makes_no_further_step(prepared, monkeypatch, tmp_path) -> None:
    from stages.training import adapt

    def killed(*_) -> None:
        raise Killed

    root = prepared(tmp_path / "killed", "align=kto", "align.max_steps=2")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(adapt, "save", killed)
        align(root)
    align(root)
    assert (cost(root)["resumed_at_step"], figures(root)["steps"]) == (2, 2)
    assert [look["step"] for look in figures(root)["looks"]] == [0, 2]


@pytest.mark.parametrize(("good", "bad"), [(100, 104), (50, 520), (300, 100)])
def test_advised_weight_is_in_the_advised_range(good: int, bad: int, capsys) -> None:
    from stages.align import kto

    options = params.check(compose.composed("experiment=smoke", "align=kto", "preference.sources=[verifier]")).align
    judged = [SimpleNamespace(good=True)] * good + [SimpleNamespace(good=False)] * bad
    kto._advise(judged, options)
    weight = float(capsys.readouterr().out.rsplit("=", 1)[1])
    assert 1 <= good * weight / bad <= 4 / 3
    kto._advise(judged, options.model_copy(update={"desirable_weight": weight}))
    assert capsys.readouterr().out == ""


def test_answers_of_one_kind_are_refused(prepared, tmp_path, votes) -> None:
    root = prepared(tmp_path / "kto", "align=kto")
    records.write(root / "data/pairs/42/pairs.jsonl", [])
    records.write(root / "data/pairs/42/votes.jsonl", votes[:1])
    with pytest.raises(DataError, match=r"data/pairs/42: 1 good and 0 bad answers .* needs both kinds"):
        align(root)

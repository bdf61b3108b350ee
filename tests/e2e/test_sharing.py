"""After the smoke experiment, with real dvc: a sweep is compared, and another clone has the run."""

import csv
import io

import pytest

from tests.fixtures.network import Blocker
from tests.fixtures.smoke import SMOKE, Clone

pytestmark = pytest.mark.e2e


def test_sweep_shows_each_value_and_diffs_name_the_change(smoked):
    smoked.commit("the run to compare with")
    queued = smoked.dvc(*SMOKE, "--queue", "-S", "report.resamples=100,300")  # only the report runs
    assert queued.status == 0, queued.text
    started = smoked.dvc("exp", "run", "--run-all", "--jobs", "1")
    assert started.status == 0, started.text
    shown = smoked.dvc("exp", "show", "--csv", "--no-pager")
    rows = [
        row for row in csv.DictReader(io.StringIO(shown.text[shown.text.index("Experiment,") :])) if row["State"] == "Success"
    ]
    assert sorted(row["report.resamples"] for row in rows) == ["100", "300"]
    assert all(row["tuned.json_valid"] != "" for row in rows)

    applied = smoked.dvc("exp", "apply", rows[0]["Experiment"])
    assert applied.status == 0, applied.text
    assert ["params.yaml", "report.resamples", "200", rows[0]["report.resamples"]] in [
        line.split() for line in smoked.dvc("params", "diff").text.splitlines()
    ]
    metrics = smoked.dvc("metrics", "diff", "--all")
    assert metrics.status == 0 and "tuned.json_valid" in metrics.text and "retention.tuned.bits_per_byte" in metrics.text
    plots = smoked.dvc("plots", "diff", "--out", "plots")
    assert plots.status == 0 and (smoked.root / "plots/index.html").is_file(), plots.text


def test_second_clone_restores_the_run_without_running(smoked, tmp_path):
    named = smoked.dvc(*SMOKE, "-S", "name=shared")  # reports/smoke alone is not in git
    assert (named.status, named.ran) == (0, {"validate", "report"}), named.text
    assert smoked.dvc("remote", "add", "--default", "store", str(tmp_path / "store")).status == 0
    smoked.commit("a run to share")
    pushed = smoked.dvc("push")
    assert pushed.status == 0, pushed.text

    smoked.git("clone", "--quiet", str(smoked.root), str(tmp_path / "second"))
    second = Clone(tmp_path / "second", tmp_path / "no-weights", Blocker(tmp_path / "second-blocker"))
    assert [path.name for path in (second.root / "models").iterdir()] == ["README.md"]
    pulled = second.dvc("pull")
    assert pulled.status == 0, pulled.text
    assert second.files("models/42/adapter") == smoked.files("models/42/adapter")
    again = second.dvc("repro")
    assert (again.status, again.ran) == (0, set()), again.text
    assert second.git("status", "--porcelain") == ""
    assert not (tmp_path / "no-weights").exists()

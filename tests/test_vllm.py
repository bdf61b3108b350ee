"""bench/vllm.sh: the order of its steps, and that no server outlives it. bench/vllm_table.py: what its table compares."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stages import figures
from stages.figures.answers import Agreement, PredictionCost
from stages.figures.cost import Machine
from stages.figures.engine import Engine, ServedCost
from stages.figures.synthesis import Funnel, Step, SynthesisCost
from stages.files import write_json

ROOT = Path(__file__).parents[1]
LOG = 'echo "${0##*/} $*" >> log'
SERVER = f"{LOG}; echo running > server; trap 'rm server; kill $!; exit' TERM; sleep 600 & wait"
MACHINE = Machine(device="cpu", device_name="x", threads=2, cores=2, python="3.11", platform="Linux", versions={})
METRICS = {"base_0shot": {"field_exact": 0.125}, "tuned": {"field_exact": 0.875}}


def run(folder: Path, dvc: str = LOG) -> tuple[int, list[str]]:
    """Run the script with stand-ins for its commands; return its exit status and the commands."""
    for name in ("reports/complaints/metrics", "data/synthetic/self_instruct/funnel"):
        write_json(folder / f"{name}.json", {})
    for system in ("base_0shot", "tuned_42"):
        write_json(folder / f"data/agreement/{system}.json", {})
        write_json(folder / f"data/cost/predict_{system}.json", {})
    write_json(folder / "data/cost/synthesize_self_instruct.json", {})
    stand_ins = {".venv-vllm/bin/python": SERVER, "bin/curl": "test -s server", "bin/dvc": dvc}
    for name, line in {**stand_ins, "bin/tunetrail": LOG, "bin/python": LOG}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"#!/usr/bin/env bash\n{line}\n")
        (folder / name).chmod(0o755)
    (folder / ".venv-vllm/.ready").touch()
    (folder / "bench").mkdir()
    shutil.copy(ROOT / "bench/vllm.sh", folder / "bench")
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    status = subprocess.run(["bash", "bench/vllm.sh"], cwd=folder, env=environment, timeout=60).returncode
    return status, (folder / "log").read_text().splitlines()


def test_models_are_served_one_after_the_other(tmp_path: Path) -> None:
    status, log = run(tmp_path)
    steps = [
        word for line in log for word in line.split() if word in ("tuned_42", "base") or word.startswith(("predict_", "synth"))
    ]
    assert status == 0
    assert steps == [
        *("predict_base", "predict_tuned", "tuned_42", "predict_served_tuned", "base", "predict_served_base"),
        *("synthesize@self_instruct", "synthesize@self_instruct"),
    ]
    assert not (tmp_path / "server").exists()


def test_no_server_outlives_a_failed_step(tmp_path: Path) -> None:
    status, log = run(tmp_path, dvc=f'{LOG}; [[ "$*" != *predict_served_base ]]')
    assert status == 1
    assert log[-1].endswith("predict_served_base")
    assert not (tmp_path / "server").exists()


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, Path]:
    """Figures of both sides: vLLM is twice as fast as transformers, and agrees on most tokens."""
    cost: dict[str, Any] = {"seconds": 100.0, "rows": 8, "prompt_tokens": 80, "new_tokens": 1000, "machine": MACHINE}
    calls: dict[str, Any] = {"calls": 6, "asked": 6, "retries": 0, "refused": 0, "teacher_seconds": 1.0, "usd": 0.0}
    for side, speed in (("transformers", 10.0), ("vllm", 20.0)):
        write_json(tmp_path / side / "metrics.json", METRICS)
        for system in ("base_0shot", "tuned_42"):
            engine = Engine(kind="openai", server="vllm", version="0.32.0", model=system)
            served = {"engine": engine, "asked": 8, "retries": 0} if side == "vllm" else {}
            kind = ServedCost if served else PredictionCost
            figures.write(tmp_path / side / f"predict_{system}.json", kind(new_tokens_per_second=speed, **cost, **served))
            agreed = Agreement(rows=4, token_agreement=0.99, row_agreement=0.75, quantization="none")
            figures.write(tmp_path / side / f"{system}.json", agreed)
        steps = [Step(stage="generated", count=6), Step(stage="kept", count=5)]
        funnel = Funnel(method="self_instruct", calls=6, stopped_by="", stages=steps, rejected={}, rows=64, figures={})
        figures.write(tmp_path / side / "funnel.json", funnel)
        made = SynthesisCost(seconds=500 / speed, prompt_tokens=9, new_tokens=400, machine=MACHINE, **calls)
        figures.write(tmp_path / side / "synthesize_self_instruct.json", made)
    return {"here": tmp_path / "transformers", "there": tmp_path / "vllm"}


@pytest.fixture
def vllm_table(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "bench")
    import vllm_table

    return vllm_table


def test_table_sets_both_side_by_side(vllm_table: Any, kept: dict[str, Path]) -> None:
    lines = vllm_table.table(**kept, headline="field_exact").splitlines()
    assert lines[0] == "| | transformers | vllm 0.32.0 |"
    assert "| tuned_42: tokens per second | 10.0 | 20.0 |" in lines
    assert "| tuned_42: field_exact, % | 87.5 | 87.5 |" in lines
    assert "| base_0shot: tokens that transformers would choose, % |  | 99.0 |" in lines
    assert "| base_0shot: rows in which it would choose all, % of 4 |  | 75.0 |" in lines
    assert "| synthesis: texts kept | 5 | 5 |" in lines
    assert "| synthesis: tokens per second | 8.0 | 16.0 |" in lines


def test_stored_answers_are_not_measured(vllm_table: Any, kept: dict[str, Path]) -> None:
    path = kept["there"] / "predict_tuned_42.json"
    cost = figures.read(path, ServedCost)
    figures.write(path, cost.model_copy(update={"asked": 5}))
    with pytest.raises(AssertionError, match="tuned_42: 3 answers were stored before"):
        vllm_table.table(**kept, headline="field_exact")

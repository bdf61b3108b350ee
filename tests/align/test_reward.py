"""A reward model on the tiny model: trained, stored, opened again, and refused where it does not belong."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages import records
from stages.errors import DataError
from stages.params import Quantization, Runtime
from tests.fixtures.aligning import align, align_killed, figures
from tests.fixtures.training import contents

pytestmark = pytest.mark.model

RUNTIME = Runtime(device="cpu", threads=1, micro_batch_size=2, launcher="none", processes=1)
PLAIN = Quantization(type="none", double_quant=False)


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory) -> tuple[Path, list[float]]:
    """Return a folder in which the stage has run, and how much higher the trained model in memory scored chosen answers."""
    from stages.align import reward

    margins, found = reward.margins, []

    def noted(lm, pairs):
        found[:] = margins(lm, pairs)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reward, "margins", noted)
        root = prepared(tmp_path_factory.mktemp("reward") / "root", "align=reward", "align.learning_rate=1e-2")
        return align(root), found


@pytest.fixture(scope="module")
def finished(run) -> Path:
    return run[0]


@pytest.fixture
def stored(finished, tmp_path) -> Path:
    """A copy of the stored reward model."""
    return shutil.copytree(finished / "models/42/aligned", tmp_path / "stored")


def edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def opened(folder: Path, manifest):
    from stages.models.reward_model import open_reward_model

    return open_reward_model(folder, RUNTIME, PLAIN, manifest)


def test_resumed_run_equals_uninterrupted(finished, prepared, tmp_path) -> None:
    killed = align_killed(prepared(tmp_path / "killed", "align=reward", "align.learning_rate=1e-2"))
    assert contents(killed / "models/42/aligned") == contents(finished / "models/42/aligned")
    assert figures(killed) == figures(finished)


def test_stage_stores_a_reward_model(finished) -> None:
    found, config = figures(finished), json.loads((finished / "models/42/aligned/adapter_config.json").read_text())
    assert sorted(contents(finished / "models/42/aligned")) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "quantization.json",
        "reward_model.json",
    ]
    assert json.loads((finished / "models/42/aligned/quantization.json").read_text())["type"] == "none"
    assert (config["task_type"], config["modules_to_save"]) == ("SEQ_CLS", ["score"])
    assert [look["step"] for look in found["looks"]] == [0, 2, 4]
    assert (found["pairs"], found["held_out"]) == (8, 2)
    assert found["log"][-1]["loss"] < found["log"][0]["loss"]


def test_stored_head_scores_as_in_memory(run, manifest, pairs) -> None:
    from stages.align import reward

    root, margins = run
    lm = opened(root / "models/42/aligned", manifest)
    assert margins == reward.margins(lm, [pair for pair in pairs if pair.held_out])
    assert any(margins)


def test_kept_look_and_interval_are_of_the_stored_model(prepared, tmp_path, monkeypatch) -> None:
    """Looks inside training round otherwise: kernels and attention differ."""
    from stages.align import reward

    def margins(lm, pairs):
        return [-1.0, -1.0] if "forward" in vars(lm.model.get_base_model()) else [1.0, 2.0]

    monkeypatch.setattr(reward, "margins", margins)
    found = figures(align(prepared(tmp_path / "root", "align=reward")))
    assert [look["pair_accuracy"] for look in found["looks"]] == [0, 0, 1]
    assert (found["looks"][-1]["margin"], found["interval"][1]) == (1.5, 1)


def test_other_base_and_tokenizer_are_refused(stored, manifest) -> None:
    for field, value, message in (
        ("hidden_size", 64, "whose hidden_size is 64, but random-tiny has 32"),
        ("vocabulary", 9, "whose vocab_size is 9"),
        ("tokenizer", "x", "another tokenizer or chat template"),
        ("files", "x", "on other weights"),
    ):
        before = (stored / "reward_model.json").read_text()
        edit(stored / "reward_model.json", **{field: value})
        with pytest.raises(DataError, match=message):
            opened(stored, manifest)
        (stored / "reward_model.json").write_text(before)


def test_model_without_a_head_is_refused(stored, adapter, manifest) -> None:
    with pytest.raises(DataError, match="without the head of a reward model; make one with align=reward"):
        opened(adapter, manifest)
    (stored / "reward_model.json").unlink()
    with pytest.raises(DataError, match=r"its reward_model.json is missing or damaged"):
        opened(stored, manifest)
    with pytest.raises(DataError, match="holds no reward model"):
        opened(stored / "none", manifest)


def test_reward_model_writes_no_answers(stored, weights) -> None:
    from stages.models.tuned import load_tuned

    with pytest.raises(DataError, match="a reward model, which scores answers and writes none"):
        load_tuned(weights, stored, "cpu")


def test_stored_model_is_a_reward_of_grpo(finished, prepared, tmp_path) -> None:
    short = ["align=grpo", "align.max_steps=1", "align.num_generations=2", "align.max_completion_length=4", "align.prompts=2"]
    kept = [f"align.reward_model={finished / 'models/42/aligned'}", "align.rewards.task=0", "align.rewards.reward_model=2.0"]
    (step,) = figures(align(prepared(tmp_path / "root", *short, *kept)))["log"]
    assert step["reward"] == pytest.approx(2 * step["rewards"]["reward_model"], abs=1e-5) != 0


def test_grpo_opens_a_reward_model_as_it_was_trained(stored, monkeypatch) -> None:
    from stages.align import grpo

    def judged() -> Quantization:
        opened = []
        monkeypatch.setattr(grpo.reward_model, "open_reward_model", lambda *given: opened.append(given[2]))
        options = SimpleNamespace(reward_model=str(stored))
        grpo._judge(
            SimpleNamespace(options=options, runtime=RUNTIME, manifest=None, quantization=PLAIN),
            SimpleNamespace(tokenizer=None),
        )
        return opened[0]

    edit(stored / "quantization.json", type="nf4", double_quant=True)
    assert judged() == Quantization(type="nf4", double_quant=True)
    edit(stored / "quantization.json", type="nf5")
    with pytest.raises(DataError, match=r"quantization.json: type: .*; make one with align=reward"):
        judged()
    (stored / "quantization.json").unlink()
    with pytest.raises(DataError, match=r"no such file, so the bits in which the reward model was trained are unknown; make"):
        judged()


def test_pairs_without_held_out_ones_are_refused(prepared, pairs, tmp_path) -> None:
    root = prepared(tmp_path / "root", "align=reward")
    records.write(root / "data/pairs/42/pairs.jsonl", [pair for pair in pairs if not pair.held_out])
    with pytest.raises(DataError, match="8 pairs to train on and 0 held out, which measure the reward model"):
        align(root)

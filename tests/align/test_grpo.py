"""GRPO on the tiny model: its prompts, its reference, its log, and a resumed run."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stages import device, files
from stages.errors import DataError
from stages.params import Grpo, Quantization, Runtime, compose
from stages.text import chat
from tests.fixtures.aligning import align, cost, figures
from tests.fixtures.tiny_model import chat_row
from tests.fixtures.training import contents, weights_of
from tests.preferences.conftest import row

pytestmark = pytest.mark.model

if TYPE_CHECKING:
    from stages.models.loading import LanguageModel

CONF = compose.ROOT / "conf/align/grpo.yaml"
RUNTIME = Runtime(device="cpu", threads=1, micro_batch_size=2, launcher="none", processes=1)
ROWS = [row(number) for number in range(3)]
REWARDS = {"task": 1.0, "json_valid": 0.0, "length": 0.5, "reward_model": 0.0}
GRPO = ["align=grpo", "align.max_steps=2", "align.save_steps=1", "align.num_generations=2", "align.max_completion_length=16"]
GRPO += ["align.rewards.length=0.5", "align.prompts=3", "align.learning_rate=1e-2"]
SHORT = {"batch_size": 4, "num_generations": 2, "max_completion_length": 4, "max_steps": 2, "warmup_steps": 0, "save_steps": 1}


@pytest.fixture
def settings() -> Callable[..., Grpo]:
    """Return a function that gives the section align for GRPO with other values."""

    def make(**fields: object) -> Grpo:
        values = files.read_yaml(CONF.read_bytes(), str(CONF))
        return Grpo.model_validate(values | SHORT | {"learning_rate": 0.01, "rewards": REWARDS} | fields)

    return make


@pytest.fixture
def lm(weights: Path, adapter: Path) -> "LanguageModel":
    """The tuned model with its adapter separate and trainable."""
    return tuned(weights, adapter)


def tuned(weights: Path, adapter: Path, bits: str = "none") -> "LanguageModel":
    from stages.models.loading import LanguageModel, load_base, load_tokenizer
    from stages.models.tuned import with_adapter

    base = load_base(weights, "cpu", Quantization(type=bits, double_quant=True), attention="auto")
    model = with_adapter(base, adapter, is_trainable=True)
    return LanguageModel(model, load_tokenizer(weights))


def test_prompts_have_the_ids_of_chat(lm, settings, tmp_path) -> None:
    from stages.align import grpo

    rows = [*ROWS, chat_row("Write <|im_end|> and </s>.", "No.")]
    worker = grpo.trainer(lm, rows, settings(), RUNTIME, seed=1, unfinished=tmp_path)
    asked = [(entry["prompt"], entry["example"]) for entry in worker.train_dataset]
    by_id = {example.id: example for example in rows}
    found = worker._tokenize_prompts([text for text, _ in asked])[0]
    assert found == [chat.prompt_ids(lm.tokenizer, by_id[id].prompt) for _, id in asked]
    assert len({id for _, id in asked}) == 4


@pytest.mark.parametrize("bits", ["none", "nf4"])
def test_reference_is_a_frozen_copy_of_the_adapter(weights, adapter, settings, tmp_path, bits) -> None:
    from stages.align import grpo

    lm = tuned(weights, adapter, bits)
    before = weights_of(lm.model)
    worker = grpo.trainer(lm, ROWS, settings(), RUNTIME, seed=1, unfinished=tmp_path)
    named = dict(worker.model.named_parameters())
    assert before and all(weight.equal(named[name.replace(".default.", ".ref.")]) for name, weight in before.items())
    assert weights_of(worker.model).keys() == before.keys()
    assert {str(weight.dtype) for weight in weights_of(worker.model).values()} == {"torch.float32"}


@pytest.fixture(scope="module")
def finished(prepared, tmp_path_factory) -> Path:
    return align(prepared(tmp_path_factory.mktemp("grpo") / "root", *GRPO))


def test_run_starts_at_no_kl_and_logs_its_rewards(finished) -> None:
    found = figures(finished)
    first, second = found["log"]
    assert first["kl"] == found["looks"][0]["kl"] == 0 < second["kl"]
    assert first["reward"] == pytest.approx(first["rewards"]["task"] + 0.5 * first["rewards"]["length"], abs=1e-5)
    assert first["entropy"] > 0
    sampled = (first["no_signal"], first["clipped"], second["clipped"])
    assert sampled == ((0.5, 0.75, 0.75) if device.multiplies("bf16") else (0.0, 1.0, 0.75))  # in fp32 other answers are drawn
    assert sorted(contents(finished / "models/42/aligned")) == ["adapter_config.json", "adapter_model.safetensors"]


def test_trained_tensors_change(finished, adapter) -> None:
    from safetensors.torch import load_file

    before, after = (load_file(path / "adapter_model.safetensors") for path in (adapter, finished / "models/42/aligned"))
    assert before.keys() == after.keys()
    assert all(not weight.equal(after[name]) for name, weight in before.items())


def test_resumed_run_equals_uninterrupted(finished, prepared, tmp_path, monkeypatch) -> None:
    from stages.align import grpo

    step = grpo.Trainer.training_step

    def killed(self, *arguments, **named):
        if self.state.global_step == 1:
            raise KeyboardInterrupt
        return step(self, *arguments, **named)

    root = prepared(tmp_path / "root", *GRPO)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(grpo.Trainer, "training_step", killed)
        align(root)
    align(root)
    assert cost(root)["resumed_at_step"] == 1
    for name in ("models/42/aligned", "data/alignment"):
        assert contents(root / name) == contents(finished / name)


def test_prompts_without_room_are_refused(lm, settings, tmp_path) -> None:
    from stages.align import grpo

    with pytest.raises(DataError, match=r"align.max_completion_length = 4090: the longest prompt has \d+ tokens"):
        grpo.trainer(lm, ROWS, settings(max_completion_length=4090), RUNTIME, seed=1, unfinished=tmp_path)


def test_log_steps_that_a_resumed_run_would_lose_are_refused(settings) -> None:
    with pytest.raises(ValueError, match="save_steps = 3 is not a multiple of logging_steps = 2"):
        settings(save_steps=3, logging_steps=2)

"""What the trainers of alignment change in TRL's: precision of adapters, and logits of answer tokens alone."""

import pytest

from stages.models import loading, tuned
from stages.models.loading import LanguageModel
from stages.params import Quantization, Runtime

pytestmark = pytest.mark.model


@pytest.fixture
def opened(weights, tokenizer, adapter):
    """Return a function that opens the tuned model as align does, with a quantization and a precision."""
    from stages.align import opening

    def make(kind: str, precision: str) -> LanguageModel:
        base = loading.load_base(weights, "cpu", Quantization(type=kind, double_quant=False), precision)
        model = tuned.with_adapter(base, adapter, is_trainable=True)
        opening.in_fp32(model)
        return LanguageModel(model, tokenizer)

    return make


@pytest.fixture
def worker(options, pairs, tmp_path):
    """Return a function that makes DPO's trainer of a model."""
    from stages.align import dpo

    def make(lm: LanguageModel, precision: str = "bf16"):
        p = options("align=dpo", "preference.sources=[verifier]", "align.batch_size=4")
        return dpo.trainer(lm, pairs, p.align.model_copy(update={"precision": precision}), p.runtime, 1, tmp_path)

    return make


def test_adapter_of_a_4_bit_base_stays_in_fp32(opened, worker) -> None:
    made = worker(opened("nf4", "bf16"))
    trained = {name: weight for name, weight in made.model.named_parameters() if weight.requires_grad}
    assert {str(weight.dtype) for weight in trained.values()} == {"torch.float32"}
    assert trained and all(".default." in name for name in trained) and list(made.model.peft_config) == ["default"]


def test_a_resumed_run_keeps_its_micro_batches(opened, worker, monkeypatch, tmp_path) -> None:
    from stages.align import opening
    from stages.training import micro_batches

    runtime = Runtime(device="cpu", threads=1, micro_batch_size="auto", launcher="none", processes=1)
    options, lm = worker(opened("none", "bf16")).options, opened("none", "bf16")
    found = []
    for free in (10**12, 0):  # bytes of memory, at the first start and after a kill
        monkeypatch.setattr(micro_batches.device, "kind", lambda _: "cuda")
        monkeypatch.setattr(micro_batches.device, "free_memory", lambda _, free=free: free)
        found.append(opening.with_micro_batch(runtime, options, lm.model, [40], tmp_path).micro_batch_size)
    assert found == [4, 4]
    assert opening.with_micro_batch(runtime, options, lm.model, [40], tmp_path / "other").micro_batch_size == 1


def test_logits_of_answers_alone_equal_those_of_the_stock_head(opened, worker) -> None:
    import torch

    from stages.align import trainers
    from stages.text.chat import IGNORE

    lm = opened("none", "fp32")
    made = worker(lm, "fp32")
    batch = made.data_collator([made.train_dataset[i] for i in range(4)])
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORE)
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "fused_lm_head": True}
    with torch.no_grad():
        stock = lm.model(**inputs, labels=labels)
        with trainers.opened(lm.model, "fp32"):
            ours = lm.model(**inputs, labels=labels.clone())
    for name in ("log_probs", "entropy", "mean_logits"):
        torch.testing.assert_close(getattr(ours, name), getattr(stock, name), rtol=1e-4, atol=1e-4)
    assert torch.equal(ours.is_top1.bool(), stock.is_top1.bool())

    # As GRPO pads them: prompts on the left and answers on the right, as widely as the longest of another micro-batch.
    padded = {name: torch.nn.functional.pad(value, (3, 5)) for name, value in inputs.items() if name != "fused_lm_head"}
    with torch.no_grad(), trainers.opened(lm.model, "fp32"):
        wide = lm.model(**padded, fused_lm_head=True, labels=torch.nn.functional.pad(labels, (3, 5), value=IGNORE))
    assert torch.equal(wide.log_probs[:, 3:-5], ours.log_probs)

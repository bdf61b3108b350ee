"""The training loss and its gradients equal the model's own, for every adapter, packing and prompt weight."""

import pytest

from stages.models import loading
from stages.training import adapt, dataset
from tests.fixtures.training import cost, stirred, train, training, worker_on

pytestmark = pytest.mark.model


def gradients_of(model, loss) -> dict:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("kind", ["prompt_tuning", "p_tuning", "prefix_tuning", "ia3"])
def test_loss_of_other_adapters_equals_the_models_own(kind, options, weights, tokenizer, rows, tmp_path):
    """Trained embeddings before the input shift every token; the loss must account for that."""
    p = options("quantization=none", "train.precision=fp32", f"adapter={kind}")
    base = loading.load_base(weights, "cpu", precision="fp32", attention="eager")
    model = stirred(adapt.attach(base, p.adapter, p.lora, seed=1))
    worker = worker_on(p, model, tokenizer, dataset.tokenised(rows["train"], tokenizer, 2048), tmp_path)
    for batch in worker.get_train_dataloader():
        own = model(**batch).loss
        assert worker.compute_loss(model, dict(batch)).item() == pytest.approx(own.item(), rel=1e-5)


def test_loss_and_gradients_equal_the_models_own(options, weights, tokenizer, rows, tmp_path):
    import torch

    p = options("quantization=none", "train.precision=fp32", "lora.r=4")
    base = loading.load_base(weights, "cpu", precision="fp32", attention="eager")
    model = stirred(adapt.attach(base, p.adapter, p.lora, seed=1))
    worker = worker_on(p, model, tokenizer, dataset.tokenised(rows["train"], tokenizer, 2048), tmp_path)
    batches = list(worker.get_train_dataloader())
    assert len(batches) == 3
    for batch in batches:
        supervised = (batch["labels"] != -100).sum()
        own = model(**batch).loss
        mine = worker.compute_loss(model, dict(batch))
        torch.testing.assert_close(mine, own, rtol=1e-5, atol=1e-6)
        shared = worker.compute_loss(model, dict(batch), num_items_in_batch=2 * supervised)
        torch.testing.assert_close(shared, own / 2, rtol=1e-5, atol=1e-6)
        expected, given = gradients_of(model, own), gradients_of(model, worker.compute_loss(model, dict(batch)))
        assert len(given) == 2 * 7 * 2  # A and B of seven matrices in two layers
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-6)


def test_two_micro_batches_of_two_equal_a_batch_of_four(furnish, tmp_path):
    """In fp32, losses agree to 1e-4 and every weight to 1e-5 after four steps."""
    import torch
    from safetensors.torch import load_file

    common = ["quantization=none", "train.precision=fp32", "train.group_by_length=false", "train.batch_size=4", "lora.r=4"]
    whole = train(furnish(tmp_path / "whole", *common, "runtime.micro_batch_size=auto"))
    halves = train(furnish(tmp_path / "halves", *common, "runtime.micro_batch_size=2"))
    assert [cost(root)["micro_batch_size"] for root in (whole, halves)] == [4, 2]
    losses = [[entry["loss"] for entry in training(root)["log"]] for root in (whole, halves)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    tuned = [load_file(root / "models/42/adapter/adapter_model.safetensors") for root in (whole, halves)]
    torch.testing.assert_close(tuned[0], tuned[1], rtol=0, atol=1e-5)


def test_packed_rows_do_not_attend_to_each_other(exact, tokenizer, rows, tmp_path):
    import torch

    p, model = exact({"train.packing": True})
    apart = dataset.tokenised(rows["train"], tokenizer, 2048)
    together = dataset.packed(apart, tokenizer, 512)
    assert len(together) < len(apart) / 2
    batches = list(worker_on(p, model, tokenizer, together, tmp_path).get_train_dataloader())
    supervised = sum((batch["labels"] != -100).sum() for batch in batches)
    worker = worker_on(p, model, tokenizer, together, tmp_path)
    packed = sum(worker.compute_loss(model, dict(batch), num_items_in_batch=supervised) for batch in batches)
    q, _ = exact({})
    single = worker_on(q, model, tokenizer, apart, tmp_path)
    plain = sum(
        single.compute_loss(model, dict(batch), num_items_in_batch=supervised) for batch in single.get_train_dataloader()
    )
    torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-6)


def test_packed_batch_is_one_row_without_padding(exact, tokenizer, rows, tmp_path):
    """FlashAttention reads the borders of the rows from cu_seq_lens; the labels are the prepared ones."""
    import torch

    p, model = exact({"train.packing": True})
    together = dataset.packed(dataset.tokenised(rows["train"], tokenizer, 2048), tokenizer, 512)
    batch = next(iter(worker_on(p, model, tokenizer, together, tmp_path).get_train_dataloader()))
    starts, ends = batch["cu_seq_lens_q"][:-1].tolist(), batch["cu_seq_lens_q"][1:].tolist()
    rowwise = {
        (tuple(row["input_ids"]), (-100, *row["labels"][1:])) for row in dataset.tokenised(rows["train"], tokenizer, 2048)
    }
    assert "attention_mask" not in batch and batch["input_ids"].shape == (1, ends[-1]) and len(starts) > 1
    for start, end in zip(starts, ends, strict=True):
        assert tuple(tuple(batch[name][0, start:end].tolist()) for name in ("input_ids", "labels")) in rowwise
        assert torch.equal(batch["position_ids"][0, start:end], torch.arange(end - start))


def test_prompt_loss_weight_of_one_is_the_loss_of_all_tokens(exact, tokenizer, rows, tmp_path):
    import torch

    p, model = exact({"train.prompt_loss_weight": 1.0})
    worker = worker_on(p, model, tokenizer, dataset.tokenised(rows["train"], tokenizer, 2048), tmp_path)
    batch = next(iter(worker.get_train_dataloader()))
    whole = batch["input_ids"].masked_fill(~batch["attention_mask"].bool(), -100)
    model.train()
    own = model(batch["input_ids"], attention_mask=batch["attention_mask"], labels=whole).loss * (whole[:, 1:] != -100).sum()
    torch.testing.assert_close(worker.compute_loss(model, dict(batch), num_items_in_batch=1), own, rtol=1e-5, atol=1e-4)

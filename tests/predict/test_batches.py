"""Batches of prompts: by rows on a CPU, by tokens on a GPU, which is only pretended."""

import sys
from types import SimpleNamespace

import pytest
import torch

from stages import device
from stages.models.loading import LanguageModel
from stages.predict import batches
from stages.predict.batches import Limits

pytestmark = pytest.mark.model


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(2), [[5, 3], [8, 1], [0]]),
        (Limits(sys.maxsize, 8), [[5, 3], [8], [1], [0]]),
        (Limits(3, 30), [[5, 3, 8], [1, 0]]),
        (Limits(sys.maxsize, 1), [[5], [3], [8], [1], [0]]),
    ],
    ids=["rows", "tokens", "both", "rows longer than the limit"],
)
def test_batches_keep_both_limits(limits, expected):
    assert batches.split(zip([5, 3, 8, 1, 0], [1, 4, 5, 6, 9], strict=True), limits) == expected


@pytest.fixture
def on_gpu(weights, tokenizer):
    from stages.models import pretrained

    model = SimpleNamespace(device=torch.device("cuda"), config=pretrained.config(weights), dtype=torch.bfloat16)
    return LanguageModel(model, tokenizer)


def test_tokens_on_a_gpu_ignore_small_changes_of_memory(on_gpu, monkeypatch):
    tokens = []
    for free in (1.1e9, 1.2e9, 4.8e9, 1.0):
        monkeypatch.setattr(device, "free_memory", lambda _, free=free: int(free))
        rows, most = batches.limits(on_gpu, 64)
        assert rows == sys.maxsize
        tokens.append(most)
    assert tokens[0] == tokens[1] == tokens[2] / 4 and tokens[3] == 1


def test_batch_size_of_one_is_one_row_on_any_device(on_gpu):
    assert batches.limits(on_gpu, 1) == Limits(1)


def test_a_cpu_takes_the_rows_of_the_batch_size(tuned_fp32, tokenizer):
    assert batches.limits(LanguageModel(tuned_fp32, tokenizer), 64) == Limits(64)

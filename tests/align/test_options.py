"""Options of alignment that do not go together are refused with the reason."""

import re

import pytest

from stages.errors import DataError

VERIFIER = "preference.sources=[verifier]"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["align=dpo", VERIFIER, "adapter=ia3"], "align.method = dpo with adapter.type = ia3: .*; use adapter=lora"),
        (["align=kto", VERIFIER, "adapter=full", "quantization=none"], "align.method = kto with adapter.type = full"),
        (
            ["align=dpo", VERIFIER, "lora.init=loftq"],
            "with lora.init = loftq: the stored adapter belongs to other base",
        ),
        (["align=grpo", "model=random_t5"], "align.method = grpo with an encoder-decoder model: .*; use align=none"),
        (["align=dpo"], r"preference.sources = \[none\]: align.method = dpo .*; set preference.sources=\[verifier\]"),
        (["align=reward"], r"preference.sources = \[none\]: align.method = reward learns from pairs"),
        (
            ["align=dpo", "preference.sources=[file]", "align.rounds=2"],
            "align.rounds = 2 with .* only the verifier",
        ),
        (["align=reward", VERIFIER, "preference.held_out=0.0"], "a reward model is judged by held-out pairs"),
        (["align=dpo", VERIFIER, "align.precision=fp32"], "the reference was measured in bf16"),
        (["align=dpo", VERIFIER, "align.precision=fp16"], "align.precision = 'fp16': input should be"),
        (["align=dpo", VERIFIER, "align.loss_weights=[0.0, 1.0]"], "with these weights compares no answers"),
        (["align=dpo", VERIFIER, "align.loss_type=[sigmoid, sigmoid]"], "loss_type names sigmoid twice"),
        (
            ["align=kto", VERIFIER, "align.desirable_weight=0.0", "align.undesirable_weight=0.0"],
            "align.desirable_weight = 0 with align.undesirable_weight = 0: no answer counts, so nothing is learned; raise one",
        ),
        (["align=grpo", "align.rewards.task=0.0"], "align.rewards: all weights are 0"),
        (
            ["align=grpo", "align.rewards.reward_model=1.0"],
            "align.rewards.reward_model = 1 with align.reward_model = adapt",
        ),
        (["align=grpo", "align.reward_model=adapters/x"], "with align.rewards.reward_model = 0: it would not be read"),
        (["align=dpo", VERIFIER, "align.reward_model=adapters/x"], "with align.method = dpo: only grpo reads it"),
        (["align=kto", VERIFIER, "runtime.micro_batch_size=1"], "each row needs another's answer to estimate the KL"),
        (
            ["align=dpo", VERIFIER, "align.batch_size=6"],
            "align.batch_size = 6 is not a multiple of runtime",
        ),
        (["align=grpo", "align.batch_size=6"], "batch_size = 6 is not a multiple of num_generations = 4"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_aligned_is_refused(options, overrides, line) -> None:
    with pytest.raises(DataError) as error:
        options(*overrides)
    assert re.search(line, str(error.value)), str(error.value)


@pytest.mark.parametrize("form", ["lora.use_dora=true", "lora.use_rslora=true", "quantization=none"])
def test_forms_of_lora_can_be_aligned(options, form) -> None:
    assert options("align=dpo", VERIFIER, form).align.method == "dpo"

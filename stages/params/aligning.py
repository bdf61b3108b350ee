"""The combinations of values with the sections `align` and `preference` that are refused, each with its reason."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.params.after import Alignment
    from stages.params.whole import Params

NOTHING = Path("adapters/none")  # as align.reward_model: no folder, where DVC needs one that exists
REWARD_CARD = "reward_model.json"  # in every folder with a reward model; stages/models/reward_model.py writes it


def mistakes(p: "Params", extracts: bool) -> list[str]:
    """Return a line for each; `extracts` is whether the answers of some rows are JSON objects."""
    named = Path(p.align.reward_model) != NOTHING
    if p.align.method == "none":
        return [_unread(p)] if named else []
    return [reason for refused, reason in [*_start(p, p.align), *_pairs(p, p.align), *_rewards(p, extracts, named)] if refused]


def _start(p: "Params", align: "Alignment") -> list[tuple[bool, str]]:
    """Return what the tuned model and the settings of the run must be."""
    method: str = p.align.method
    rows = p.runtime.rows(align.batch_size)
    return [
        (
            p.adapter.type != "lora",
            f"align.method = {method} with adapter.type = {p.adapter.type}: alignment continues from LoRA (also rsLoRA and "
            "DoRA), whose weights can be swapped for those of the reference; use adapter=lora or align=none",
        ),
        (
            p.adapter.type == "lora" and p.lora.init != "default",
            f"align.method = {method} with lora.init = {p.lora.init}: the stored adapter belongs to other base weights than "
            "those that were trained on; use lora.init=default or align=none",
        ),
        (
            p.model.source == "random" and p.model.architecture == "t5",
            f"align.method = {method} with an encoder-decoder model: TRL's trainers align decoders only; use align=none",
        ),
        (
            align.batch_size % rows > 0,
            f"align.batch_size = {align.batch_size} is not a multiple of runtime.micro_batch_size = "
            f"{p.runtime.micro_batch_size}",
        ),
        (
            method == "kto" and rows == 1,
            f"align.method = kto with align.batch_size = {align.batch_size} and runtime.micro_batch_size = "
            f"{p.runtime.micro_batch_size}: each row needs another's answer to estimate the KL; use at least 2 rows",
        ),
        (
            align.lr_scheduler_type == "constant" and align.warmup_steps > 0,
            f"align.lr_scheduler_type = constant with align.warmup_steps = {align.warmup_steps}: it has no warm-up; use "
            "constant_with_warmup or align.warmup_steps=0",
        ),
    ]


def _pairs(p: "Params", align: "Alignment") -> list[tuple[bool, str]]:
    """Return what the stage pairs must make, and how the method must learn from it."""
    method, sources = p.align.method, p.preference.sources
    rounds = p.align.rounds if p.align.method == "dpo" else 1
    return [
        (
            method != "grpo" and not p.preference.wanted,
            f"preference.sources = [none]: align.method = {method} learns from pairs; set preference.sources=[verifier]",
        ),
        (
            rounds > 1 and p.preference.wanted and "verifier" not in sources,
            f"align.rounds = {rounds} with preference.sources = {sources}: only the verifier makes pairs of new samples; add "
            "it, or set align.rounds=1",
        ),
        (
            method == "reward" and not p.preference.held_out,
            "preference.held_out = 0 with align.method = reward: a reward model is judged by held-out pairs; raise it",
        ),
        (
            p.align.method == "kto" and not p.align.desirable_weight and not p.align.undesirable_weight,
            "align.desirable_weight = 0 with align.undesirable_weight = 0: no answer counts, so nothing is learned; raise one, "
            "e.g. align.desirable_weight=1.0",
        ),
        (
            method in ("dpo", "kto") and align.precision == "fp32",
            f"align.precision = fp32 with align.method = {method}: the reference was measured in bf16, so the loss would start "
            "biased; use align.precision=bf16",
        ),
    ]


def _rewards(p: "Params", extracts: bool, named: bool) -> list[tuple[bool, str]]:
    """Return what GRPO's rewards must be."""
    if p.align.method != "grpo":
        return [(named, _unread(p))]
    rewards, folder = p.align.rewards, Path(p.align.reward_model)
    return [
        (
            not any(rewards.model_dump().values()),
            "align.rewards: all weights are 0, so every answer is as good; raise one, e.g. align.rewards.task=1.0",
        ),
        (
            rewards.json_valid > 0 and not extracts,
            f"align.rewards.json_valid = {rewards.json_valid:g}: no answer of data.kind = {p.data.kind} is a JSON object; "
            "set it to 0",
        ),
        (
            rewards.reward_model > 0 and not named,
            f"align.rewards.reward_model = {rewards.reward_model:g} with align.reward_model = {NOTHING}: name the folder of a "
            "reward model that align=reward has made",
        ),
        (
            named and not rewards.reward_model,
            f"align.reward_model = {folder} with align.rewards.reward_model = 0: it would not be read; raise the weight or set "
            f"align.reward_model={NOTHING}",
        ),
        (
            folder.resolve().is_relative_to(Path("models").resolve()),
            f"align.reward_model = {folder}: DVC replaces the content of models/; store it with `tunetrail keep NAME "
            "--what aligned` and use align.reward_model=adapters/NAME",
        ),
    ]


def _unread(p: "Params") -> str:
    return (
        f"align.reward_model = {p.align.reward_model} with align.method = {p.align.method}: only grpo reads it; set "
        f"align.reward_model={NOTHING}"
    )

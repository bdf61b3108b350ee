"""Train models of usual shapes with random weights: ours against TRL's SFTTrainer and Unsloth, in tokens per second and memory.

    python bench/gpu.py [--models smollm2-135m …] [--methods qlora lora] [--trainers ours sft unsloth] [--steps 8] [--rows 16]

    python bench/gpu.py --toy         # on a CPU: shapes of a few thousand weights, to see that the script works.

Rows have 64 to 2,048 tokens, the second half of them supervised, the same for every trainer; `--rows` of them make a step. `8b`
has rows of 2,048 tokens only, one per forward pass, and activation checkpointing. `sft_checkpointing` is TRL's trainer with
checkpointing, which is its default; `sft` has none, as ours. Each trainer runs in a process of its own and asserts that
gradients are not zero and that weights changed. The first three steps warm up. A trainer that cannot run is a line of the table
too, with its error. Prints one table in Markdown. Without a GPU, or with `--toy`, its title says "not measured": such numbers
mean nothing.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import stages  # noqa: F401  # before any library: it switches their telemetry off

# Width, inner width, layers, heads, heads of keys and values, width of a head, vocabulary: from each model's config.json.
SHAPES = {
    "smollm2-135m": ("llama", 576, 1536, 30, 9, 3, 64, 49152),
    "qwen3-0.6b": ("qwen3", 1024, 3072, 28, 16, 8, 128, 151936),
    "llama-3.2-1b": ("llama", 2048, 8192, 16, 32, 8, 64, 128256),
    "8b": ("llama", 4096, 14336, 32, 32, 8, 128, 128256),
}
TOY = (64, 128, 2, 4, 2, 16, 512)
METHODS = {"qlora": "nf4", "lora": "none"}
TRAINERS = ("ours", "sft", "sft_checkpointing", "unsloth")
PACKAGES = {"ours": "tunetrail", "sft": "trl", "sft_checkpointing": "trl", "unsloth": "unsloth"}
WARM = 3  # steps before the clock starts


@dataclass(frozen=True)
class Measured:
    """Tokens without padding, after the warm steps; the largest memory; the first gradient's norm; the last loss."""

    tokens_per_second: float
    peak_gib: float
    gradient_norm: float
    loss: float


def rows(shape: str, count: int, toy: bool) -> list[dict[str, list[int]]]:
    """Return token ids and labels of rows drawn from a fixed seed."""
    draw, longest = random.Random(0), 64 if toy else 2048
    lengths = [longest if shape == "8b" else round(longest / 32 * 32 ** draw.random()) for _ in range(count)]
    ids = [[draw.randrange(3, 256) for _ in range(max(4, length))] for length in lengths]
    return [{"input_ids": row, "labels": [-100] * (len(row) // 2) + row[len(row) // 2 :]} for row in ids]


def store(shape: str, folder: Path, toy: bool) -> None:
    """Write a model of this shape with random weights in bf16, and a tokenizer that no row needs."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    from stages.models import random as tiny
    from stages.params import RandomModel

    kind, *sizes = SHAPES[shape]
    width, inner, layers, heads, held, head, vocabulary = TOY if toy else sizes
    tiny.make(RandomModel(source="random", name="x", architecture="llama", hidden_size=8, layers=1, license="none"), folder)
    config, model = (Qwen3Config, Qwen3ForCausalLM) if kind == "qwen3" else (LlamaConfig, LlamaForCausalLM)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    torch.set_default_device("cpu" if toy else "cuda")  # eight billion weights are drawn in no time there
    model(
        config(
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=held,
            head_dim=head,
            vocab_size=vocabulary,
            tie_word_embeddings=shape != "8b",
            max_position_embeddings=4096,
            eos_token_id=2,
            pad_token_id=2,
            bos_token_id=None,
        )
    ).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


def measure(trainer: str, method: str, shape: str, folder: Path, steps: int, batch: int, toy: bool) -> Measured:
    """Train in this process and return what it measured."""
    if trainer == "unsloth":
        import unsloth  # noqa: F401  # before the libraries that it changes
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback

    from stages import device, params
    from stages.models import loading
    from stages.models.loading import LanguageModel
    from stages.training import adapt, micro_batches, run
    from stages.training.arguments import arguments

    p = params.check(params.load(Path(__file__).resolve().parents[1] / params.PARAMS))
    options = p.train.model_copy(
        update={
            "max_steps": WARM + steps,
            "batch_size": batch,
            "gradient_checkpointing": shape == "8b" or trainer == "sft_checkpointing",
        }
    )
    runtime = p.runtime.model_copy(
        update={"device": "cpu" if toy else "auto", "micro_batch_size": 1 if shape == "8b" else "auto"}
    )
    if trainer == "ours":
        device.prepare(runtime)
    kind, data = device.kind(runtime), Dataset.from_list(rows(shape, batch * options.max_steps, toy))
    quantization = p.quantization.model_copy(update={"type": METHODS[method]})
    memory = device.Memory(kind)
    if trainer == "unsloth":
        from unsloth import FastLanguageModel

        model, tokenizer = FastLanguageModel.from_pretrained(str(folder), max_seq_length=2048, load_in_4bit=method == "qlora")
        model = FastLanguageModel.get_peft_model(model, r=p.lora.r, lora_alpha=p.lora.alpha, lora_dropout=0, bias="none")
    else:
        tokenizer = loading.load_tokenizer(folder)
        base = loading.load_base(folder, kind, quantization, p.train.precision, p.train.attn_implementation)
        model = adapt.attach(base, p.adapter, p.lora, seed=0)
    trained = {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if kind == "cuda":
                torch.cuda.synchronize()
            ends.append(time.monotonic())

    runtime = micro_batches.resolved(runtime, options, model, data)
    with tempfile.TemporaryDirectory() as out:
        how = arguments(options, runtime, 0, Path(out), validate=False)
        how.save_strategy, how.train_sampling_strategy, how.logging_steps = "no", "sequential", 1
        if trainer == "ours":
            worker = run.trainer(LanguageModel(model, tokenizer), run.Rows(data, data.select([])), options, how)
        else:
            from trl import SFTTrainer

            how.bf16, how.pad_to_multiple_of = options.precision == "bf16", None
            worker = SFTTrainer(model=model, args=how, train_dataset=data, processing_class=tokenizer)
        worker.add_callback(Clock())
        with run.own_casts(model) if trainer == "ours" else nullcontext():
            worker.train()
    logged = [entry for entry in worker.state.log_history if "loss" in entry]
    norm = float(logged[0]["grad_norm"])
    assert norm > 0, "the first gradient is zero"
    after = dict(model.named_parameters())
    assert any(not torch.equal(weight, after[name].detach()) for name, weight in trained.items()), "no weight changed"
    tokens = sum(len(ids) for ids in data["input_ids"][WARM * batch :])
    return Measured(tokens / (ends[-1] - ends[WARM - 1]), memory.peak() / 2**30, norm, float(logged[-1]["loss"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--trainers", nargs="+", choices=TRAINERS, default=TRAINERS)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # trainer, method, model, folder
    asked = parser.parse_args()
    if asked.one:
        trainer, method, shape, folder = asked.one
        print(json.dumps(asdict(measure(trainer, method, shape, Path(folder), asked.steps, asked.rows, asked.toy))))
        return
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() and not asked.toy else ""
    print(f"On {name}." if name else "Not measured: toy shapes on a CPU, which show only that the script works.")
    print(
        "\n| model | method | trainer | tokens per second | peak, GiB | first gradient norm | last loss |\n" + "|---" * 7 + "|"
    )
    for shape in asked.models:
        with tempfile.TemporaryDirectory() as folder:
            store(shape, Path(folder), not name)
            for method in asked.methods:
                for trainer in asked.trainers:
                    print(line(trainer, method, shape, folder, asked.steps, asked.rows, not name), flush=True)


def line(trainer: str, method: str, shape: str, folder: str, steps: int, batch: int, toy: bool) -> str:
    """Return a line of the table: what a process of its own measured, or its error."""
    command = [sys.executable, __file__, "--one", trainer, method, shape, folder, *(["--toy"] * toy)]
    command += ["--steps", str(steps), "--rows", str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    try:
        label = f"{trainer} {version(PACKAGES[trainer])}"
    except PackageNotFoundError:
        label = trainer
    if done.returncode:
        error = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return f"| {shape} | {method} | {label} | `{error.replace('|', ' ')}` | | | |"
    found = Measured(**json.loads(done.stdout.splitlines()[-1]))
    return (
        f"| {shape} | {method} | {label} | {found.tokens_per_second:,.0f} | {found.peak_gib:.2f} | {found.gradient_norm:.3f} "
        f"| {found.loss:.3f} |"
    )


if __name__ == "__main__":
    main()

"""Time the decoding of a batch: this loop and cache against those of transformers, with the same model, prompts and machine.

    python bench/decode.py [rounds] [--rows 64] [--tokens 128] [--systems base_0shot base_3shot] [--usual-pages]

`stock` decodes from transformers' DynamicCache in its own loop, after the same pass over the shared prefix. Answers end where
the model ends them, or after `--tokens`. The two alternate in one process. Prints, per system, medians of the seconds until
the first token, of the tokens per second after it, and of their ratio, and how many texts are equal. Run `dvc repro train`
first: it makes the rows; tuned_42 needs the adapter.
"""

import argparse
import statistics
import time
from pathlib import Path

import stages  # noqa: F401  # before any library: it switches their telemetry off

# isort: split
from transformers import DynamicCache

from stages import device, params, records
from stages.generation import cache, decoding
from stages.models.loading import LanguageModel, open_base
from stages.models.tuned import open_tuned
from stages.text import chat
from stages.text.prompts import shots_of, with_shots

OURS = cache._empty, decoding._written


def stock(lm: LanguageModel) -> DynamicCache:
    lm.model.set_attn_implementation("sdpa")
    return DynamicCache(config=lm.model.config)


def seconds(lm: LanguageModel, prompts: list[list[int]], tokens: int) -> tuple[float, list[decoding.Completion]]:
    started = time.monotonic()
    answers = decoding.greedy(lm, prompts, tokens)
    return time.monotonic() - started, answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--systems", nargs="+", default=["base_0shot", "base_3shot"])
    parser.add_argument("--usual-pages", action="store_true", help="reserve no memory in huge pages")
    asked = parser.parse_args()
    if asked.usual_pages:
        device.HEAP = 0
    rows = list(records.read(Path("data/formatted/test.jsonl"), records.Example))
    for system in asked.systems:
        seed = system.removeprefix("tuned_")
        runtime = params.runtime()
        lm = open_tuned(runtime, Path("models", seed, "adapter")) if seed != system else open_base(runtime)
        prompts = [chat.prompt_ids(lm.tokenizer, with_shots(row.prompt, shots_of(system))) for row in rows]
        prompts = sorted(prompts, key=len)[: asked.rows]
        seconds(lm, prompts, 2)
        found: dict[str, list[tuple[float, float, list[str]]]] = {"stock": [], "ours": []}
        for _ in range(asked.rounds):
            for name in found:
                cache._empty, decoding._written = (stock, decoding._stock) if name == "stock" else OURS
                first, _ = seconds(lm, prompts, 1)
                whole, answers = seconds(lm, prompts, asked.tokens)
                further = sum(answer.new_tokens - 1 for answer in answers)
                found[name].append((first, further / (whole - first), [answer.text for answer in answers]))
        for name, runs in found.items():
            first, speed = (statistics.median(run[place] for run in runs) for place in (0, 1))
            print(f"{system:12}{name:8}{first:8.2f} s to the first token{speed:8.1f} tokens per second", flush=True)
        ratio = statistics.median(b[1] / a[1] for a, b in zip(found["stock"], found["ours"], strict=True))
        equal = sum(a == b for a, b in zip(found["stock"][0][2], found["ours"][0][2], strict=True))
        print(f"{system:12}ratio {ratio:.2f}, {equal} of {len(prompts)} texts equal", flush=True)


if __name__ == "__main__":
    main()

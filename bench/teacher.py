"""Seconds of the local teacher's batch: transformers' sampling and glibc's usual memory against stages/generate.py.

    python bench/teacher.py [rounds]

Alternates the two, each in a process of its own, since what glibc is told holds for a process. Needs `dvc repro synthesize`
(prompts) first.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from stages import params, provenance, records
from stages.generation import decoding
from stages.models import loading, sources
from stages.models.loading import LanguageModel
from stages.models.manifest import read_manifest
from stages.records import Call
from stages.text import chat

CALLS = Path("data/synthetic/self_instruct/calls.jsonl")


def seconds(stock: bool) -> float:
    import torch

    runtime = params.runtime()
    sampling = params.read("synthesis").synthesis.self_instruct.sampling
    if stock:
        provenance._keep_freed_memory = lambda: None
    provenance.prepare(runtime)
    manifest = read_manifest()
    weights = sources.ensure(manifest)
    tokenizer, model = loading.load_tokenizer(weights), loading.load_base(weights, provenance.device(runtime))
    prompts = [chat.prompt_ids(tokenizer, call.messages) for call in records.read(CALLS, Call)]
    started = time.monotonic()
    if stock:
        torch.manual_seed(0)
        how = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        answers = decoding._generate(model, tokenizer, prompts, do_sample=True, max_new_tokens=sampling.max_new_tokens, **how)
    else:
        answers = sampling.sample(LanguageModel(model, tokenizer), prompts, sampling, seed=0)
    taken = time.monotonic() - started
    print(
        f"{'stock' if stock else 'ours'}: {taken:.1f} s, {len(answers)} answers, {sum(a.new_tokens for a in answers)} tokens",
        file=sys.stderr,
    )
    return taken


def main() -> None:
    if sys.argv[1:] in (["stock"], ["ours"]):
        print(seconds(stock=sys.argv[1] == "stock"))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    taken: dict[str, list[float]] = {"stock": [], "ours": []}
    for _ in range(rounds):
        for name, column in taken.items():
            column.append(float(subprocess.run([sys.executable, __file__, name], stdout=subprocess.PIPE, check=True).stdout))
    for name, column in taken.items():
        print(f"{name:6} {statistics.median(column):6.1f} s")
    ratios = [stock / ours for stock, ours in zip(taken["stock"], taken["ours"], strict=True)]
    print(f"ratio  {statistics.median(ratios):6.2f}")


if __name__ == "__main__":
    main()

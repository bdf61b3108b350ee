"""Seconds of the local teacher's batch: transformers' sampling and glibc's usual memory against stages/generation.

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
from stages.generation.decoding import generate
from stages.generation.sampling import sample
from stages.models.loading import open_base
from stages.records import Call
from stages.text import chat

CALLS = Path("data/synthetic/self_instruct/calls.jsonl")


def seconds(stock: bool) -> float:
    import torch

    runtime = params.runtime()
    options = params.read("synthesis").synthesis.self_instruct
    if isinstance(options, params.GeneralInstruct):
        raise SystemExit("synthesis.self_instruct.form = general: this benchmark repeats the form complaints")
    drawn = options.sampling
    if stock:
        provenance._keep_freed_memory = lambda: None
    provenance.prepare(runtime)
    lm = open_base(runtime)
    prompts = [chat.prompt_ids(lm.tokenizer, call.messages) for call in records.read(CALLS, Call)]
    started = time.monotonic()
    if stock:
        torch.manual_seed(0)
        how = {"temperature": drawn.temperature, "top_p": drawn.top_p, "top_k": 0}
        answers = generate(lm, prompts, do_sample=True, max_new_tokens=drawn.max_new_tokens, **how)
    else:
        answers = sample(lm, prompts, drawn, seed=0)
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

"""Time a batch of the local teacher: sampling and memory of transformers and glibc against stages/generation/sampling.py.

    python bench/teacher.py [rounds]

Alternates the two, each in its own process, since glibc's settings apply to a whole process. Run `dvc repro synthesize` first:
it makes the prompts.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from stages import device, params, records
from stages.generation import decoding, sampling
from stages.models.loading import open_base
from stages.params.synthesis import ComplaintInstruct
from stages.records import Call
from stages.text import chat

CALLS = Path("data/synthetic/self_instruct/calls.jsonl")


def stock_sampling(temperature: float, top_p: float) -> decoding.Choose:
    import torch
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    warm, nucleus = TemperatureLogitsWarper(temperature), TopPLogitsWarper(top_p)

    def choose(logits: torch.Tensor, written: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.multinomial(nucleus(written, warm(written, logits)).softmax(-1), 1).squeeze(1)

    return choose


def seconds(stock: bool) -> float:
    import torch

    method = params.read("synthesis").synthesis.self_instruct
    if not isinstance(method, ComplaintInstruct):
        sys.exit("error: synthesis.self_instruct: this script needs its form complaints, e.g. `tunetrail compose`")
    if stock:
        device._keep_freed_memory = lambda: None
    lm = open_base(params.runtime())
    prompts = [chat.prompt_ids(lm.tokenizer, call.messages) for call in records.read(CALLS, Call)]
    started = time.monotonic()
    if stock:
        torch.manual_seed(0)
        how = method.sampling
        choose = stock_sampling(how.temperature, how.top_p)
        decoding._written = decoding._stock
        answers = decoding.generate(lm, prompts, how.max_new_tokens, choose)
    else:
        answers = sampling.sample(lm, prompts, method.sampling, seed=0)
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

"""Measure a light adapter per user: one base in memory, requests of 100 users in turn.

    python bench/adapters.py [--users 100] [--requests 300] [--rank 4] [--tokens 200] [--tiny]

Writes adapters with random weights on the queries and values of every layer, then answers requests of random users through
stages/models/exchange.py, which `tunetrail predict --adapter-column` uses. A request is one pass over random tokens. Prints the
disk that an adapter takes, the time to exchange one and to read a request, the memory after 10 and after all users, and the
largest difference of logits from a base that was loaded afresh for one adapter. Uses the base of models/base.json, so run
`dvc repro fetch` first; `--tiny` uses a random model of two layers.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import stages  # noqa: F401  # before any library: it switches their telemetry off

# isort: split
import peft
import psutil
import torch

from stages import device, params
from stages.models import loading, sources
from stages.models.exchange import Exchange
from stages.models.loading import LanguageModel
from stages.models.manifest import Manifest, read_manifest
from stages.models.tokenizer import load_tokenizer
from stages.models.tuned import load_tuned
from stages.training import adapt

COMPARED, FEW = 5, 10
TINY = params.RandomModel(source="random", name="tiny", architecture="llama", hidden_size=32, layers=2, license="none")


def write(lm: LanguageModel, manifest: Manifest, folder: Path, users: int, rank: int) -> list[Path]:
    """Write an adapter per user, drawn from the user's number."""
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"])
    model = peft.get_peft_model(lm.model, config)
    folders = [folder / f"user_{number}" for number in range(users)]
    for number, place in enumerate(folders):
        generator = torch.Generator().manual_seed(number)
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.data.normal_(0, 0.02, generator=generator)
        adapt.save(LanguageModel(model, lm.tokenizer), place, manifest)
    model.unload()
    return folders


def resident() -> float:
    return psutil.Process().memory_info().rss / 2**20


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args()
    device.prepare(params.runtime())
    manifest = sources.fetch(TINY) if asked.tiny else read_manifest()
    weights = sources.ensure(manifest)
    lm = LanguageModel(loading.load_base(weights, "cpu"), load_tokenizer(weights))
    generator = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as work:
        folders = write(lm, manifest, Path(work), asked.users, asked.rank)
        sizes = [sum(path.stat().st_size for path in folder.iterdir()) for folder in folders]
        print(f"disk per adapter: {statistics.median(sizes) / 2**10:.0f} KiB", flush=True)
        shared, order = Exchange(lm), torch.randperm(asked.users, generator=generator).tolist()  # each user once, then any
        further = max(0, asked.requests - asked.users)
        order += torch.randint(asked.users, (further,), generator=generator).tolist()
        switched, read, before = [], [], None
        for place, user in enumerate(order):
            tokens = torch.randint(3, 200, (1, asked.tokens), generator=generator)
            started = time.perf_counter()
            shared.use(folders[user])
            between = time.perf_counter()
            lm.model(tokens)
            read.append(time.perf_counter() - between)
            if user != before:
                switched.append(between - started)
            before = user
            if place + 1 in (FEW, asked.users, len(order)):
                print(f"memory after {place + 1} requests: {resident():.1f} MiB", flush=True)
        print(f"to exchange an adapter: {1000 * statistics.median(switched):.1f} ms (median of {len(switched)})")
        print(f"to read {asked.tokens} tokens: {1000 * statistics.median(read):.1f} ms (median of {len(read)})", flush=True)
        tokens, largest = torch.randint(3, 200, (1, asked.tokens), generator=generator), 0.0
        for folder in folders[:COMPARED]:
            fresh = load_tuned(weights, folder, "cpu")(tokens).logits
            largest = max(largest, float((shared.use(folder).model(tokens).logits - fresh).abs().max()))
        print(f"largest difference of logits from {COMPARED} fresh loads: {largest:g}")


if __name__ == "__main__":
    main()

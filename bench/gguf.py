"""Compare the answers of llama.cpp's server from exported GGUF files with those of the same model loaded here.

    .venv-gguf/bin/pip install xllamacpp        # llama.cpp's own server as a wheel
    tunetrail export --format gguf --quant q8_0 --output exported-q8_0
    python bench/gguf.py .venv-gguf 20 exported-q8_0/model-q8_0.gguf [more files]

Sends the first rows of the evaluated split to a server on loopback, one by one. Answers them here too, in one batch, greedily
and without a grammar, as `tunetrail predict --constrain none` does. Prints for each file its size, how many prompts have as
many tokens as here, and how many answers equal those here. Then the mean of the task's headline score, its paired difference to
the answers here by source, as in a report, and tokens per second of the processor's time, so that another busy process matters
little.
"""

import sys
from pathlib import Path

import numpy as np
import openai
import psutil
from serve import serving

from stages import params
from stages.evaluate import metrics
from stages.generation import decoding
from stages.models.stored import adapter_of
from stages.models.tuned import open_tuned
from stages.records import Example, Prediction, read
from stages.statistics import paired_difference
from stages.text import chat

PORT = 8019
SERVER = """
import signal, sys, xllamacpp
options = xllamacpp.CommonParams()
options.model.path, options.port, options.n_ctx, options.n_parallel = sys.argv[1], int(sys.argv[2]), 2048, 1
options.cpuparams.n_threads = options.cpuparams_batch.n_threads = int(sys.argv[3])
server = xllamacpp.Server(options)
signal.pause()
"""


def computed(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    environment, count, files = Path(sys.argv[1]), int(sys.argv[2]), [Path(name) for name in sys.argv[3:]]
    p, runtime = params.read("seeds", "predict.split", "predict.max_new_tokens", "report.headline"), params.runtime()
    examples = list(read(Path("data/formatted") / f"{p.predict.split}.jsonl", Example))[:count]
    lm = open_tuned(runtime, adapter_of(p.seeds[0]))
    prompts = [chat.prompt_ids(lm.tokenizer, row.prompt) for row in examples]
    start = computed(psutil.Process())
    here = decoding.greedy(lm, prompts, p.predict.max_new_tokens)
    spent = computed(psutil.Process()) - start
    texts = [answer.text for answer in here]
    speed, scores = sum(answer.new_tokens for answer in here) / spent, _scores(examples, texts, p.report.headline)
    sources = np.array([row.source for row in examples])
    print("| file | MB | same prompt tokens | same answers | headline | difference | tokens per second |")
    print("|---|---|---|---|---|---|---|")
    print(f"| loaded here, bf16, in one batch | | | | {100 * scores.mean():.1f} | | {speed:.1f} |", flush=True)
    for file in files:
        command = [str(environment / "bin" / "python"), "-I", "-c", SERVER, str(file), str(PORT), str(runtime.threads or 1)]
        with serving(command, PORT) as server:
            process = psutil.Process(server.pid)
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{PORT}/v1", api_key="none", timeout=600)
            start, served, tokens, alike = computed(process), [], 0, 0
            for row, prompt in zip(examples, prompts, strict=True):
                turns = [{"role": turn.role, "content": turn.content} for turn in row.prompt]
                reply = client.chat.completions.create(
                    model="tuned", messages=turns, temperature=0, max_tokens=p.predict.max_new_tokens
                )
                served.append((reply.choices[0].message.content or "").strip())
                tokens, alike = tokens + reply.usage.completion_tokens, alike + (reply.usage.prompt_tokens == len(prompt))
            spent = computed(process) - start
        same = sum(one == other for one, other in zip(served, texts, strict=True))
        found = _scores(examples, served, p.report.headline)
        gap = paired_difference(found, scores, sources, 10_000, np.random.default_rng(0))
        score = f"{100 * found.mean():.1f} | {100 * gap.mean:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"
        columns = (file.name, f"{file.stat().st_size / 1e6:.1f}", alike, same, score, f"{tokens / spent:.1f}")
        print("|", " | ".join(map(str, columns)), "|", flush=True)


def _scores(examples: list[Example], texts: list[str], headline: str) -> np.ndarray:
    """Return the headline score of each row."""
    found = []
    for row, text in zip(examples, texts, strict=True):
        given = Prediction(example=row.id, system="x", text=text, stopped=True, prompt_tokens=1, new_tokens=1)
        found.append(metrics.score(row, given)[0][headline])
    return np.array(found)


if __name__ == "__main__":
    main()

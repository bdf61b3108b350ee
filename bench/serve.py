"""Check that `transformers serve` gives the same answers from an exported model as the model loaded here.

    pip install 'transformers[serving]' && tunetrail export --output exported
    python bench/serve.py exported [rows, 50 by default]

Starts the server on loopback and sends it the first test prompts one by one, with stages/teachers/server.py. Prints how many
answers equal those of the same folder loaded here, also one by one. Then compares with data/predictions, which were made in
batches and therefore rounded differently. Run it in a clone: the answers are stored in .tunetrail/responses like any teacher's.
"""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages import device, params
from stages.generation import decoding
from stages.models import loading
from stages.models.loading import LanguageModel
from stages.params import Budget, OpenAITeacher, Price, Sampling
from stages.records import Example, Prediction, read
from stages.teachers.backends import OpenAI
from stages.teachers.teacher import Ask, Teacher
from stages.text import chat

PORT = 8017
STARTS_WITHIN = 300  # seconds


@contextmanager
def serving(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the block runs, which begins when it answers."""
    server = subprocess.Popen(command)
    try:
        for _ in range(STARTS_WITHIN):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            except urllib.error.URLError:
                if server.poll() is not None:
                    sys.exit(f"error: {command[0]} ended with exit status {server.returncode}")
                time.sleep(1)
        yield server
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    folder, count = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 50
    p, runtime = params.read("seed", "seeds", "predict.split", "predict.max_new_tokens"), params.runtime()
    examples = list(read(Path("data/formatted") / f"{p.predict.split}.jsonl", Example))[:count]
    greedy = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_new_tokens=p.predict.max_new_tokens)
    command = ["transformers", "serve", str(folder), "--port", str(PORT), "--device", "cpu", "--dtype", "bfloat16"]
    with serving(command, PORT):
        options = OpenAITeacher(
            kind="openai",
            base_url=f"http://127.0.0.1:{PORT}/v1",
            model=str(folder),
            api_key_env=None,
            concurrency=1,
            timeout_seconds=300,
            max_retries=2,
            limit_field="max_tokens",
            omit=[],
            price=Price(usd_per_million_input=0.0, usd_per_million_output=0.0),
        )
        teacher = Teacher(OpenAI(options, runtime), Budget(max_calls=None, max_tokens=None, max_usd=None), p.seed)
        served = [call.text if call else "" for call in teacher.answer([Ask(row.prompt, greedy) for row in examples])]
    print(f"{len(served)} answers of the server, {teacher.asked} requested now, {teacher.retries} retries: {teacher.cost()}")

    device.prepare(runtime)
    tokenizer, model = loading.load_tokenizer(folder), loading.load_base(folder, device.kind(runtime))
    prompts = [chat.prompt_ids(tokenizer, row.prompt) for row in examples]
    here = [decoding.greedy(LanguageModel(model, tokenizer), [prompt], p.predict.max_new_tokens)[0].text for prompt in prompts]
    kept = {row.example: row.text for row in read(Path(f"data/predictions/tuned_{p.seeds[0]}.jsonl"), Prediction)}
    batched = [kept[row.id] for row in examples]
    for name, texts in (("the same folder, one by one", here), ("data/predictions, in batches", batched)):
        print(f"{sum(a == b for a, b in zip(served, texts, strict=True))} of {len(served)} equal to {name}")


if __name__ == "__main__":
    main()

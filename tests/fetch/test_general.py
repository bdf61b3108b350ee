"""The authored general items: replayed prompts must differ from the items that measure forgetting."""

import json

from stages.params import compose
from stages.synthesize import filters
from stages.text import rouge

FOLDER = compose.ROOT / "data/authored/general"


def texts(name: str, key: str) -> list[str]:
    return [json.loads(line)[key] for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def test_replay_prompts_differ_from_retention_items() -> None:
    kept_apart = [filters.tokens(text) for text in [*texts("choices.jsonl", "question"), *texts("harm.jsonl", "prompt")]]
    prompts = texts("prompts.jsonl", "prompt")
    assert len(set(prompts)) == len(prompts) >= 100
    for prompt in prompts:
        assert max(rouge.rouge_l(filters.tokens(prompt), item) for item in kept_apart) < 0.75, prompt

"""replay: let the base model answer general prompts; its answers are mixed into training or used by EWC."""

import json
from pathlib import Path

from stages import files, params, records, stage
from stages.errors import DataError
from stages.records import Example, Message

REPLAY = Path("data/replay.jsonl")
BATCH = 32


def main() -> None:
    p, runtime = params.read("replay"), params.runtime()
    if not p.replay.fraction and not p.replay.ewc_lambda:
        records.write(REPLAY, [])
        print("replay.fraction and replay.ewc_lambda are 0: no prompt needs an answer")
        return
    from stages.generation.decoding import greedy
    from stages.models.loading import open_base
    from stages.text import chat

    base, asked = open_base(runtime), _prompts(Path(p.replay.path))
    ids = [chat.prompt_ids(base.tokenizer, [message]) for message in asked]
    batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
    answers = [answer for batch in batches for answer in greedy(base, batch, p.replay.max_new_tokens)]
    answered = [
        Example(kind="text", messages=(message, Message(role="assistant", content=answer.text)), source=f"general-{number}")
        for number, (message, answer) in enumerate(zip(asked, answers, strict=True), start=1)
        if answer.stopped and answer.text  # a truncated answer would teach the model not to stop
    ]
    records.write(REPLAY, answered)
    print(f"{len(answered)} of {len(asked)} general prompts answered completely")


def _prompts(path: Path) -> list[Message]:
    prompts = []
    for number, line in enumerate(files.lines(path), start=1):
        try:
            prompts.append(Message(role="user", content=json.loads(line)["prompt"]))
        except (ValueError, TypeError, KeyError):
            raise DataError(f'{path}:{number}: must be an object such as {{"prompt": "..."}}') from None
    return prompts


if __name__ == "__main__":
    stage.run(main)

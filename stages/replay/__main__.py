"""replay: the base model's own answers to general prompts, to be mixed into training or to weigh what EWC holds."""

import json
from pathlib import Path

from stages import chat, generate, models, params, provenance, records, stage
from stages.records import DataError, Example, Message

REPLAY = Path("data/replay.jsonl")
BATCH = 32


def main() -> None:
    p, runtime = params.read("replay").replay, params.runtime()
    if not p.fraction and not p.ewc_lambda:
        records.write(REPLAY, [])
        print("replay.fraction and replay.ewc_lambda are 0: nothing is asked")
        return
    provenance.prepare(runtime)
    weights = models.ensure(models.read_manifest())
    tokenizer = models.load_tokenizer(weights)
    model = models.load_base(weights, provenance.device(runtime))
    asked = _prompts(Path(p.path))
    ids = [chat.prompt_ids(tokenizer, [message]) for message in asked]
    answers = [
        answer
        for start in range(0, len(ids), BATCH)
        for answer in generate.greedy(model, tokenizer, ids[start : start + BATCH], p.max_new_tokens)
    ]
    told = [
        Example(kind="text", messages=(message, Message(role="assistant", content=answer.text)), source=f"general-{number}")
        for number, (message, answer) in enumerate(zip(asked, answers, strict=True), start=1)
        if answer.stopped and answer.text  # one that was cut off would teach not to end
    ]
    records.write(REPLAY, told)
    print(f"{len(told)} of {len(asked)} general prompts answered to the end")


def _prompts(path: Path) -> list[Message]:
    found = []
    for number, line in enumerate(records.lines(path), start=1):
        try:
            found.append(Message(role="user", content=json.loads(line)["prompt"]))
        except (ValueError, TypeError, KeyError):
            raise DataError(f'{path}:{number}: must be an object like {{"prompt": "..."}}') from None
    return found


if __name__ == "__main__":
    stage.run(main)

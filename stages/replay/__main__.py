"""replay: let the base model answer general prompts; its answers are mixed into training or used by EWC."""

from pathlib import Path

from pydantic import BaseModel

from stages import params, records, stage
from stages.records import Example, Message

REPLAY = Path("data/replay.jsonl")
BATCH = 32


class Prompt(BaseModel):
    """One line of the general prompts."""

    prompt: str


def main() -> None:
    p, runtime = params.read("replay"), params.runtime()
    if not p.replay.fraction and not p.replay.ewc_lambda:
        records.write(REPLAY, [])
        print("replay.fraction and replay.ewc_lambda are 0: no prompt needs an answer")
        return
    from stages.generation.decoding import greedy
    from stages.models.loading import open_base
    from stages.text import chat

    base = open_base(runtime)
    asked = [Message(role="user", content=row.prompt) for row in records.read(Path(p.replay.path), Prompt)]
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


if __name__ == "__main__":
    stage.run(main)

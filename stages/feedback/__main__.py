"""feedback: join votes and corrections of users with the answers that they saw; make training rows, pairs and votes of it."""

from collections.abc import Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path

from stages import figures, files, params, records, stage
from stages.feedback import joining, made, reading
from stages.figures.feedback import FeedbackFunnel
from stages.format import chats, overlap, schemas
from stages.records import Record, Task
from stages.spool import Again
from stages.terminal import visible

RAW, FEEDBACK = Path("data/raw"), Path("data/feedback")


def main() -> None:
    p = params.read("data", "format.overlap_ngram", "predict.constrain", "feedback")
    found = joining.joined(reading.rows(p.feedback), reading.log(Path(p.feedback.log)), p.data.system)
    learned = made.made(found, _target(p), partial(_held_out, p.format.overlap_ngram)) if found.remarks else made.Made()
    funnel = FeedbackFunnel(
        rows=found.rows,
        left_out=dict(found.left_out),
        joined=len(found.feedback),
        answers=len(found.answers),
        dropped=dict(learned.dropped),
        tasks=len(learned.tasks),
        pairs=len(learned.pairs),
        votes=len(learned.votes),
    )
    written: dict[str, list[Record]] = {
        "answers": [*found.answers.values()],
        "feedback": [*found.feedback],
        "tasks": [*learned.tasks],
        "pairs": [*learned.pairs],
        "votes": [*learned.votes],
    }
    with files.whole_folder(FEEDBACK) as part:
        for name, rows in written.items():
            records.write(part / f"{name}.jsonl", rows)
        figures.write(part / "funnel.json", funnel)
    print(f"{funnel.joined} of {funnel.rows} rows joined{_listed(funnel.left_out)}")
    for reason, place in found.first.items():
        print(visible(f"{place}: {reason}, the first of {found.left_out[reason]}"))
    print(f"{funnel.answers} answers: {funnel.tasks} training rows, {funnel.votes} votes{_listed(funnel.dropped)}")


def _target(p: params.Params) -> made.Target:
    """Return what the answers of the training rows look like."""
    kind = made.kind_of(p.data)
    train = Again(partial(records.read, RAW / "train.jsonl", Task))
    labels = next((task.choices for task in train if task.kind == "classification"), ()) if kind == "classification" else ()
    schema = schemas.schemas(chats.examples(train)).get("") if kind == "extraction" else None
    return made.Target(kind, labels, schema, p.predict.constrain == "copied", getattr(p.data, "indent", None))


def _held_out(ngram: int | None, tasks: Sequence[Task]) -> list[str | None]:
    """Return for each task why `format` would remove it from the training rows, None if it would not."""
    train, valid, test = (partial(records.read, RAW / f"{split}.jsonl", Task) for split in ("train", "valid", "test"))
    reasons = list(overlap.reasons(Again(lambda: chain(train(), tasks)), Again(lambda: chain(valid(), test())), ngram))
    return list(islice(reasons, len(reasons) - len(tasks), None))


def _listed(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{count} {reason}' for reason, count in counts.items())})" if counts else ""


if __name__ == "__main__":
    stage.run(main)

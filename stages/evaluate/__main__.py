"""Stage evaluate: score every system on every row and compute its totals; no model is loaded."""

from pathlib import Path

from stages import files, params, records, stage, systems
from stages.evaluate import choice, metrics, vote
from stages.kept.names import kept
from stages.records import Example, Prediction, Score, aligned

FORMATTED, PREDICTIONS = Path("data/formatted"), Path("data/predictions")
SCORES, TOTALS, VOTES = Path("data/scores.jsonl"), Path("data/totals.json"), Path("data/votes.jsonl")


def main() -> None:
    p = params.read("seeds", "align.method", "predict.split", "predict.shots", "predict.passage", "predict.kept", "evaluate")
    examples = list(records.read(FORMATTED / f"{p.predict.split}.jsonl", Example))
    bases, tuned = systems.bases(p.predict.shots, p.predict.passage), systems.tuned(p.seeds)
    after = systems.aligned(p.seeds, p.align.method)
    further = kept(p.predict.kept)
    names = [*bases, *tuned.values(), *systems.with_passage(bases, tuned).values(), *after.values(), *further]
    answers = {system: aligned(PREDICTIONS / f"{system}.jsonl", examples) for system in names}
    of_voters = zip(*(answers[system] for system in (*tuned.values(), *further)), strict=True)
    votes = [vote.vote(e, given) for e, given in zip(examples, of_voters, strict=True)] if p.evaluate.vote else []
    records.write(VOTES, votes)
    if votes:
        names, answers = [*names, systems.VOTE], answers | {systems.VOTE: votes}
    records.write(SCORES, (_scored(e, given) for system in names for e, given in zip(examples, answers[system], strict=True)))
    totals = {system: metrics.by_dataset(examples, predictions, p.evaluate.extra) for system, predictions in answers.items()}
    plots = {
        "confusion": [{"system": s, **row} for s in tuned.values() for row in choice.confusion(examples, answers[s])],
        "reliability": [{"system": s, **row} for s in names for row in choice.reliability(examples, answers[s])],
    }
    files.write_json(TOTALS, {**totals, **plots})
    print(f"{len(examples)} rows of {p.predict.split}, {len(names)} systems: {', '.join(names)}")


def _scored(example: Example, given: Prediction) -> Score:
    scores, measures = metrics.score(example, given)
    return Score(
        example=example.id,
        system=given.system,
        source=example.source,
        slices=(*example.slices, *filter(None, [example.dataset])),
        scores=scores,
        measures=measures,
        parents=(given.id,),
    )


if __name__ == "__main__":
    stage.run(main)

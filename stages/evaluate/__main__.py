"""Stage evaluate: score every system on every row and compute its totals; no model is loaded."""

from pathlib import Path

from stages import files, params, records, stage
from stages.evaluate import choice, metrics
from stages.records import Example, Prediction, Score, aligned

FORMATTED, PREDICTIONS = Path("data/formatted"), Path("data/predictions")
SCORES, TOTALS = Path("data/scores.jsonl"), Path("data/totals.json")


def main() -> None:
    p = params.read("seeds", "predict.split", "predict.shots", "predict.passage", "evaluate")
    examples = list(records.read(FORMATTED / f"{p.predict.split}.jsonl", Example))
    bases = [f"base_{shots}shot" for shots in p.predict.shots] + ["base_passage"] * p.predict.passage
    systems = bases + [f"tuned_{seed}" for seed in p.seeds]
    answers = {system: aligned(PREDICTIONS / f"{system}.jsonl", examples) for system in systems}
    records.write(SCORES, (_scored(e, given) for system in systems for e, given in zip(examples, answers[system], strict=True)))
    totals = {system: metrics.by_dataset(examples, predictions, p.evaluate.extra) for system, predictions in answers.items()}
    tuned = [system for system in systems if system.startswith("tuned_")]
    plots = {
        "confusion": [{"system": system, **row} for system in tuned for row in choice.confusion(examples, answers[system])],
        "reliability": [{"system": s, **row} for s in systems for row in choice.reliability(examples, answers[s])],
    }
    files.write_json(TOTALS, {**totals, **plots})
    print(f"{len(examples)} rows of {p.predict.split}, {len(systems)} systems: {', '.join(systems)}")


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

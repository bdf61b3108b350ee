"""evaluate: the scores of every system on every row; plain functions, no model is loaded."""

from pathlib import Path

from stages import params, records, stage
from stages.evaluate import metrics
from stages.records import DataError, Example, Prediction, Score

FORMATTED, PREDICTIONS, SCORES = Path("data/formatted"), Path("data/predictions"), Path("data/scores.jsonl")


def main() -> None:
    p = params.read("seeds", "predict.split", "predict.shots")
    examples = list(records.read(FORMATTED / f"{p.split}.jsonl", Example))
    systems = [f"base_{shots}shot" for shots in p.shots] + [f"tuned_{seed}" for seed in p.seeds]
    scores = [score for system in systems for score in _scores(system, examples)]
    records.write(SCORES, scores)
    print(f"{len(examples)} rows of {p.split}, {len(systems)} systems: {', '.join(systems)}")


def _scores(system: str, examples: list[Example]) -> list[Score]:
    path = PREDICTIONS / f"{system}.jsonl"
    answers = {prediction.example: prediction for prediction in records.read(path, Prediction)}
    if missing := [example.id for example in examples if example.id not in answers]:
        raise DataError(f"{path}: no prediction for {len(missing)} of {len(examples)} rows, e.g. {missing[0]}; run `dvc repro`")
    return [
        Score(
            example=example.id,
            system=system,
            source=example.source,
            slices=example.slices,
            scores=metrics.score(example, answers[example.id]),
            parents=(answers[example.id].id,),
        )
        for example in examples
    ]


if __name__ == "__main__":
    stage.run(main)

"""Rounds of DPO: each later one samples again with the current adapter and continues from it; the reference stays.

That is the semi-online form of Lanchantin et al. 2025 (arXiv:2506.21495): the sampler is synchronised once a round, and
log-ratios are always taken to the tuned model that train stored. Every round has an optimizer and a warm-up of its own.
A finished round is kept next to the checkpoints, so neither a kill nor another number of rounds repeats it. A later round has
its samples and pairs there too; the stage stores them as data, so that they can be traced.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stages import records
from stages.align import checkpoint, looks, rows, trainers, weights
from stages.align.job import Job
from stages.align.merged import merged
from stages.align.run import Fitted
from stages.figures.alignment import AlignmentRound
from stages.files import write_json
from stages.models.loading import LanguageModel
from stages.preferences import making, reference, sampling, verifier
from stages.preferences.records import Pair, Sample
from stages.records import Example, content_hash
from stages.training import checkpoints

WEIGHTS, FIGURES = "trained.safetensors", "round.json"
Fit = Callable[[Sequence[Pair], Path], Fitted]


@dataclass(frozen=True)
class Rounds:
    """All rounds as one run: steps are counted through, and `pairs` are those of all rounds."""

    fitted: Fitted
    pairs: int
    rounds: list[AlignmentRound]


def run(job: Job, lm: LanguageModel, tuned: weights.Weights, first: Sequence[Pair], fit: Fit) -> Rounds:
    """Return all rounds; the model holds the weights of the last. The first round learns from the pairs `first`."""
    done: list[tuple[Fitted, AlignmentRound]] = []
    earlier = 0.0
    for number in range(1, job.options.rounds + 1):
        place, started = job.unfinished / f"round-{number}", time.monotonic()
        if (place / FIGURES).is_file():
            earlier += _figures(place)["seconds"]
        else:
            pairs, score = (first, None) if number == 1 else _later(job, lm, tuned, number, place)
            if not pairs:
                print(f"round {number}: no pair is left of the new samples, so it is the last")
                break
            fitted = fit(pairs, place)
            weights.store(weights.trained(lm.model), place / WEIGHTS)
            steps = sum(before.steps for before, _ in done) + fitted.steps
            counted = AlignmentRound(pairs=len(pairs), last_step=steps, score=score)
            seconds = fitted.earlier_seconds + time.monotonic() - started
            found = {"fitted": asdict(fitted), "round": counted.model_dump(), "seconds": seconds}
            earlier += fitted.earlier_seconds
            write_json(place / FIGURES, found)  # last: it ends the round
        for path in place.glob("checkpoint-*"):
            checkpoints.clear(path)
        done.append(_kept(place))
        weights.put(lm.model, weights.stored(place / WEIGHTS))
    joined = _joined(done)
    return replace(joined, fitted=replace(joined.fitted, earlier_seconds=earlier))


def _later(job: Job, lm: LanguageModel, tuned: weights.Weights, number: int, place: Path) -> tuple[list[Pair], float | None]:
    """Return the pairs that a later round trains on, and the mean score of its samples; keep both in `place`."""
    if (place / checkpoint.PAIRS).is_file():  # written last, by a run that was killed: its checkpoint learned from these
        samples = list(records.read(place / checkpoint.SAMPLES, Sample))
        pairs = list(records.read(place / checkpoint.PAIRS, Pair))
    else:
        samples, pairs = more_pairs(job, lm, tuned, number)
        if rows.split(pairs)[0]:
            records.write(place / checkpoint.SAMPLES, samples)
            records.write(place / checkpoint.PAIRS, pairs)
    score = round(sum(sample.score for sample in samples) / len(samples), 6) if samples else None
    return rows.split(pairs)[0], score


def more_pairs(job: Job, lm: LanguageModel, tuned: weights.Weights, number: int) -> tuple[list[Sample], list[Pair]]:
    """Return the current model's own samples, and pairs of them; the prompts are drawn again.

    Prompts are held out as in the stage pairs.
    """
    settings = job.settings
    assert settings is not None  # job.read has refused it
    identity = content_hash([job.unfinished.name, number])  # names the model whose samples are stored
    seed = int(content_hash(["round", job.seed, number])[:8], 16)  # so that settings are compared on the same prompts
    prompts, _ = sampling.drawn(list(records.read(job.train, Example)), settings.prompts, seed)
    with trainers.opened(lm.model, job.options.precision), looks.answering(lm.model):
        with merged(lm.model):
            answers, _ = sampling.sampled(lm, prompts, settings, seed, identity)
        samples = verifier.scored(prompts, answers)
        made = verifier.made(prompts, samples, settings.margin, settings.reference)
        joint = making.joined({"verifier": reference.fitting(lm.tokenizer, made)}, settings.held_out)
        with weights.using(lm.model, tuned):
            joint, _ = reference.measured(lm, joint)
    return samples, making.pairs(joint)


def _kept(place: Path) -> tuple[Fitted, AlignmentRound]:
    found = _figures(place)
    return Fitted(**found["fitted"]), AlignmentRound.model_validate(found["round"])


def _figures(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / FIGURES).read_text(encoding="utf-8"))
    return found


def _joined(done: Sequence[tuple[Fitted, AlignmentRound]]) -> Rounds:
    """Return the rounds as one run.

    A later round begins with the weights that the round before has kept, so its first look replaces that round's last.
    """
    (whole, _), counted = done[0], [each for _, each in done]
    for fitted, _ in done[1:]:
        before = whole.steps
        later = [{**entry, "step": entry["step"] + before} for entry in fitted.log]
        seen = [{**entry, "step": entry["step"] + before} for entry in fitted.looks]
        earlier = [entry for entry in whole.looks if not seen or entry["step"] < seen[0]["step"]]
        whole = replace(
            fitted,
            steps=before + fitted.steps,
            kept_step=before + fitted.kept_step,
            log=[*whole.log, *later],
            looks=[*earlier, *seen],
            seconds=round(whole.seconds + fitted.seconds, 1),
            resumed_at_step=before + fitted.resumed_at_step if fitted.resumed_at_step else whole.resumed_at_step,
            memory=max(whole.memory, fitted.memory, key=lambda used: used["memory_peak_gib"]),
        )
    return Rounds(whole, sum(each.pairs for each in counted), counted)

"""Read what the report is made from: exactly the files that the parameters name."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from stages import figures, files, records, systems
from stages.errors import DataError
from stages.figures.alignment import Alignment, AlignmentCost
from stages.figures.answers import Agreement, PredictionCost
from stages.figures.engine import Engine, ServedCost
from stages.figures.preferences import Preferences, PreferencesCost
from stages.figures.retention import Retained, RetentionCost
from stages.figures.rows import Audit, recognised
from stages.figures.synthesis import Funnel, SynthesisCost
from stages.figures.training import Training, TrainingCost
from stages.models.manifest import MANIFEST, Manifest
from stages.records import Example
from stages.report import evidence
from stages.report.evidence import Evidence
from stages.terminal import visible

COSTS: dict[str, type[evidence.Cost]] = {
    "synthesize": SynthesisCost,
    "pretrain": TrainingCost,
    "train": TrainingCost,
    "pairs": PreferencesCost,
    "align": AlignmentCost,
    "predict": PredictionCost,
    "retention": RetentionCost,
}
DATA, COLUMNS = Path("data"), Path("data/raw/columns.json")
AUDITS = DATA / "authored" / "audits"
ALWAYS = ("none", "synthesize_none")  # written even if not requested, as are answers with a passage and what follows train


class Wanted(NamedTuple):
    """What the parameters ask for: systems, methods of synthesis, and the stages before and after `train`."""

    bases: list[str]
    tuned: dict[int, str]
    aligned: dict[int, str]
    methods: list[str]
    pretrained: bool
    paired: bool
    align: bool
    vote: bool
    kept: list[str]
    served: bool = False

    @property
    def systems(self) -> list[str]:
        passage = systems.with_passage(self.bases, self.tuned)
        return [*self.bases, *self.tuned.values(), *passage.values(), *self.aligned.values(), *self.kept]

    def steps(self) -> list[str]:
        """Return the steps whose cost is reported, in the order of dvc.yaml."""
        by_seed = {"pretrain": self.pretrained, "train": True, "pairs": self.paired, "align": self.align}
        trained = [f"{stage}_{seed}" for stage, wanted in by_seed.items() if wanted for seed in self.tuned]
        measured = [*(f"predict_{system}" for system in self.systems), *(f"retention_{system}" for system in self.measured)]
        return [*(f"synthesize_{m}" for m in self.methods), *trained, *measured]

    @property
    def measured(self) -> list[str]:
        """Return the systems whose general abilities are measured."""
        return ["base", *self.tuned.values(), *self.aligned.values()]


def read(name: str, split: str, wanted: Wanted) -> Evidence:
    """Read exactly the files that the parameters name; others in the same folders come from other parameters."""
    names, seeds = wanted.systems, list(wanted.tuned)
    predictions = {system: DATA / "predictions" / f"{system}.jsonl" for system in names}
    kept = {system: DATA / "retention" / f"{system}.json" for system in wanted.measured}
    agreement = {seed: DATA / "agreement" / f"{system}.json" for seed, system in wanted.tuned.items() if not wanted.served}
    of_engine = {system: DATA / "agreement" / f"{system}.json" for system in names if wanted.served}
    funnels = {method: DATA / "synthetic" / method / "funnel.json" for method in wanted.methods}
    training = {seed: DATA / "training" / f"{seed}.json" for seed in seeds}
    pretraining = {seed: DATA / "pretraining" / f"{seed}.json" for seed in seeds if wanted.pretrained}
    preferences = {seed: DATA / "pairs" / str(seed) / "funnel.json" for seed in seeds if wanted.paired}
    alignment = {seed: DATA / "alignment" / f"{seed}.json" for seed in seeds if wanted.align}
    costs = {step: DATA / "cost" / f"{step}.json" for step in wanted.steps()}
    files_read = [*predictions.values(), *kept.values(), *agreement.values(), *of_engine.values()]
    files_read += [*training.values(), *costs.values(), *pretraining.values(), *alignment.values()]
    warn_of_leftovers(files_read, seeds)
    warn_of_leftovers([path.parent for path in (*funnels.values(), *preferences.values())], seeds)
    rows = list(records.read(DATA / "formatted" / f"{split}.jsonl", Example))
    totals = figures.read(DATA / "totals.json", evidence.Totals)
    kinds = COSTS | ({"predict": ServedCost} if wanted.served else {})
    spent = {step: figures.read(path, kinds[step.partition("_")[0]]) for step, path in costs.items()}
    return Evidence(
        examples=rows,
        predictions={system: {row.example: row for row in records.aligned(path, rows)} for system, path in predictions.items()},
        hashes={system: _hash(path) for system, path in predictions.items()},
        data={name: _hash(DATA / "formatted" / f"{name}.jsonl") for name in ("train", split)},
        commit=_commit(),
        totals={system: totals.of(system) for system in [*names, *[systems.VOTE] * wanted.vote]},
        plots={
            "confusion": totals.confusion,
            "reliability": [row for row in totals.reliability if row["system"] in wanted.tuned.values()],
        },
        retention={system: figures.read(path, Retained) for system, path in kept.items()},
        audit=figures.read(DATA / "formatted" / "audit.json", Audit),
        funnels=[figures.read(path, Funnel) for path in funnels.values()],
        judged=figures.read(judged, evidence.Judged) if (judged := AUDITS / f"{name}.json").is_file() else None,
        training={seed: figures.read(path, Training) for seed, path in training.items()},
        agreement={seed: figures.read(path, Agreement) for seed, path in agreement.items()},
        costs=spent,
        base=figures.read(MANIFEST, Manifest),
        columns=recognised(COLUMNS) if COLUMNS.is_file() else {},
        pretraining={seed: figures.read(path, Training) for seed, path in pretraining.items()},
        preferences={seed: figures.read(path, Preferences) for seed, path in preferences.items()},
        alignment={seed: figures.read(path, Alignment) for seed, path in alignment.items()},
        engine=_only_engine({step: cost.engine for step, cost in spent.items() if isinstance(cost, ServedCost)}),
        served={system: figures.read(path, Agreement) for system, path in of_engine.items()},
    )


def _only_engine(engines: dict[str, Engine]) -> Engine | None:
    """Return who answered in all these steps, None for transformers; raise DataError for two, since answers are paired."""
    if not engines:
        return None
    (first, engine), *others = engines.items()
    if different := [(system, other) for system, other in others if other.name != engine.name]:
        step, other = different[0]
        raise DataError(
            f"engine: {engine.name} answered in {first}, {other.name} in {step}; answers of two engines are not paired. Run "
            "`dvc repro -f predict_served_base predict_served_tuned` with one of them"
        )
    return engine


def warn_of_leftovers(read: list[Path], seeds: list[int]) -> None:
    """Print a warning for each file of other seeds, shots or methods next to the files that are read; it is not an error."""
    of_aligned = ("predict_aligned", "retention_aligned")
    after = {f"{stage}_{seed}" for stage in ("pretrain", "pairs", "align", "aligned", *of_aligned) for seed in seeds}
    for folder in dict.fromkeys(path.parent for path in read):
        for path in sorted(folder.glob("[!.]*")):
            if path not in read and path.stem not in {*ALWAYS, *after} and not path.stem.endswith(systems.PASSAGE):
                print(visible(f"warning: {path} is left over from other parameters and was not read"), file=sys.stderr)


def _hash(path: Path) -> str:
    """Return the md5, as in dvc.lock, so that git alone shows from which predictions a report was made."""
    return files.file_hash(path, "md5")


def _commit() -> str:
    """Return HEAD and whether files other than the pipeline's outputs differ from it; "unknown" outside a git repository."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return "unknown"
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", ".", ":!reports", ":!dvc.lock"], check=False).returncode
    return head.stdout.strip() + (" with changes" if changed else "")

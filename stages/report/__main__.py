"""Stage report: turn scores, audit, funnels, logs and costs into what a reviewer reads, below reports/<name>/."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from stages import figures, files, lineage, params, records, stage, systems
from stages.models.manifest import MANIFEST, Manifest
from stages.pages import render
from stages.records import Example, Score
from stages.report import evidence, examples, item_scores, page, personal, results, retention, summary, table
from stages.report.evidence import Evidence
from stages.report.nearest import Nearest
from stages.terminal import inert, visible

COSTS: dict[str, type[figures.Cost]] = {
    "synthesize": figures.SynthesisCost,
    "train": figures.TrainingCost,
    "predict": figures.PredictionCost,
}
DATA, HUB, COLUMNS = Path("data"), Path("data/raw/hub.json"), Path("data/raw/columns.json")
AUDITS = DATA / "authored" / "audits"
TRAINED_WITH = ("adapter", "lora", "quantization", "train")  # sections of the model card
# Keys below data in the model card.
SOURCE = ("kind", "path", "locale", *("hub.repo", "hub.config", "hub.revision"), "documents.package", "facts.package")
NEAREST = 2  # training examples shown with a before/after example
ALWAYS = ("none", "synthesize_none")  # written even if not requested, as are answers with a passage


def main() -> None:
    p = params.read(
        "name",
        "seed",
        "seeds",
        "synthesis.methods",
        "predict.split",
        "predict.shots",
        "predict.passage",
        "predict.constrain",
        "report",
        "data",
        "adapter",
        "lora",
        "quantization",
        "train",
    )
    bases, tuned = systems.bases(p.predict.shots, p.predict.passage), systems.tuned(p.seeds)
    methods: list[str] = [method for method in p.synthesis.methods if method != "none"]

    found = read_evidence(p.name, p.predict.split, bases, tuned, methods)
    found = found if p.report.texts else personal.without_texts(found)
    options, (before, *after) = p.report, found.retention.values()
    scored = item_scores.tabulate(records.read(DATA / "scores.jsonl", Score), found.examples, bases, tuned)
    scored = item_scores.with_declined(item_scores.with_headline(scored, options.headline))
    summarized = summary.summarize(scored, options.headline, options.resamples, p.seed, p.predict.split, options.margin)
    kept = retention.compare(before, after, options.resamples, p.seed, options.margin)
    totals = {system: summary.with_interval(numbers, scored, system) for system, numbers in found.totals.items()}
    numbers = results.results(summarized, totals, retention.numbers(kept), evidence.synthesis(found.funnels))
    others = [systems.BASE_PASSAGE, scored.with_passage[p.seeds[0]]] if scored.with_passage else []
    serving = evidence.serving(found.costs, f"base_{max(p.predict.shots)}shot", tuned[p.seeds[0]], others, options)

    folder = Path("reports") / p.name
    content = {
        **page_content(p, found, scored, summarized),
        "kept": kept,
        "no_verdict": retention.NO_VERDICT,
        "totals": totals,
        "chart": page.chart(found.training),
        "serving": serving,
        "prices": options,
        "texts": options.texts,
    }
    content = content if options.texts else personal.without_rows(content)
    personal.warn(content, folder)
    personal.warn_of_rows(Path(p.data.path))
    markdown, html = (render(page.HERE / name, **content) for name in ("report.md.jinja", "page.html.jinja"))
    items = item_scores.items(scored)
    secret = files.file_hash(DATA / "formatted" / f"{p.predict.split}.jsonl")
    names = personal.pseudonyms([item["source"] for item in items], secret)
    files.write_json(folder / "metrics.json", results.shown(numbers, options.headline))
    files.write_json(folder / "details.json", numbers.content())
    prices = {system: each.model_dump(exclude_unset=True) for system, each in serving.items()}
    costs = {**evidence.cost(found), "serving": prices, "predictions_md5": found.hashes}
    files.write_json(folder / "cost.json", costs)
    files.write_text(folder / "items.jsonl", "".join(_line(item | {"source": names[item["source"]]}) for item in items))
    losses, funnels = evidence.loss_rows(found.training), evidence.funnel_rows(found.funnels)
    for plot, rows in {"loss": losses, "funnel": funnels, **found.plots}.items():
        files.write_json(folder / "plots" / f"{plot}.json", rows)
    files.write_text(folder / "report.md", markdown)
    files.write_text(folder / "index.html", html)
    files.write_text(folder / "model_card.md", render(page.HERE / "model_card.md.jinja", **content))

    table.show(numbers, folder)


def read_evidence(name: str, split: str, bases: list[str], tuned: dict[int, str], methods: list[str]) -> Evidence:
    """Read exactly the files that the parameters name; others in the same folders come from other parameters."""
    names = [*bases, *tuned.values(), *systems.with_passage(bases, tuned).values()]
    predictions = {system: DATA / "predictions" / f"{system}.jsonl" for system in names}
    kept = {system: DATA / "retention" / f"{system}.json" for system in ("base", *tuned.values())}
    agreement = {seed: DATA / "agreement" / f"{system}.json" for seed, system in tuned.items()}
    funnels = {method: DATA / "synthetic" / method / "funnel.json" for method in methods}
    training = {seed: DATA / "training" / f"{seed}.json" for seed in tuned}
    steps = [f"synthesize_{m}" for m in methods] + [f"train_{s}" for s in tuned] + [f"predict_{s}" for s in names]
    costs = {step: DATA / "cost" / f"{step}.json" for step in steps}
    warn_of_leftovers([*predictions.values(), *kept.values(), *agreement.values(), *training.values(), *costs.values()])
    warn_of_leftovers([path.parent for path in funnels.values()])
    rows = list(records.read(DATA / "formatted" / f"{split}.jsonl", Example))
    totals = figures.read(DATA / "totals.json", evidence.Totals)
    return Evidence(
        examples=rows,
        predictions={system: {row.example: row for row in records.aligned(path, rows)} for system, path in predictions.items()},
        hashes={system: _hash(path) for system, path in predictions.items()},
        data={name: _hash(DATA / "formatted" / f"{name}.jsonl") for name in ("train", split)},
        commit=_commit(),
        totals={system: totals.of(system) for system in names},
        plots={
            "confusion": totals.confusion,
            "reliability": [row for row in totals.reliability if row["system"] in tuned.values()],
        },
        retention={system: figures.read(path, figures.Retained) for system, path in kept.items()},
        audit=figures.read(DATA / "formatted" / "audit.json", figures.Audit),
        funnels=[figures.read(path, figures.Funnel) for path in funnels.values()],
        judged=figures.read(judged, evidence.Judged) if (judged := AUDITS / f"{name}.json").is_file() else None,
        training={seed: figures.read(path, figures.Training) for seed, path in training.items()},
        agreement={seed: figures.read(path, figures.Agreement) for seed, path in agreement.items()},
        costs={step: figures.read(path, COSTS[step.partition("_")[0]]) for step, path in costs.items()},
        base=figures.read(MANIFEST, Manifest),
        columns=figures.recognised(COLUMNS) if COLUMNS.is_file() else {},
    )


def warn_of_leftovers(read: list[Path]) -> None:
    """Print a warning for each file of other seeds, shots or methods next to the files that are read; it is not an error."""
    for folder in dict.fromkeys(path.parent for path in read):
        for path in sorted(folder.glob("[!.]*")):
            if path not in read and path.stem not in ALWAYS and not path.stem.endswith(systems.PASSAGE):
                print(visible(f"warning: {path} is left over from other parameters and was not read"), file=sys.stderr)


def page_content(p: params.Params, found: Evidence, scored: item_scores.Table, scores: summary.Summary) -> dict[str, Any]:
    """Return what the templates get besides charts and costs."""
    best, first = scores.best, next(iter(scored.seeds.values()))
    chosen = examples.choose(scored, best, first, p.report.headline, p.report.examples, p.seed)
    wrong = examples.wrong(scored, first, p.report.headline)
    listed = wrong[: p.report.errors]
    errors = examples.errors(scored, found.examples, found.predictions[first], first, listed)
    train = list(records.read(DATA / "formatted" / "train.jsonl", Example))
    near = Nearest(train, lineage.read(DATA, ("formatted/train.jsonl", "synthetic", "raw")))
    return {
        "name": p.name,
        "seed": p.seed,
        "headline": p.report.headline,
        "sliced": p.report.headline.partition("@")[0],
        "resamples": p.report.resamples,
        "margin": p.report.margin,
        "verdict": page.verdict(scores, found.base.model.name, p.report.margin),
        "scores": scores,
        "names": scored.metrics,
        "constrained": p.predict.constrain == "json",
        "systems": scored.systems,
        "sliced_systems": scored.sliced(best),
        "best": best,
        "examples": examples.before_after(scored, found.examples, found.predictions, best, chosen),
        "nearest": [near.to(found.examples[row], NEAREST) if outcome != "fixed" else [] for row, outcome in chosen],
        "errors": [error | {"nearest": near.to(found.examples[row], 1)} for row, error in zip(listed, errors, strict=True)],
        "error_count": len(wrong),
        "script_hash": page.script_hash(),
        "questions": summary.questions(found.totals),
        "total_names": list(dict.fromkeys(name for totals in found.totals.values() for name in totals)),
        "found": found,
        "trained_rows": Counter(row.dataset for row in train),
        "judged_here": len(set(found.judged.ids if found.judged else ()) & {task for row in train for task in row.parents}),
        "audit_columns": list(figures.SplitAudit.model_fields),
        "machine": found.machine,
        "base_facts": {**found.base.model.model_dump(), "parameters": found.base.parameters},
        "parameters": card_parameters(p),
        "notice": getattr(p.data, "notice", ""),  # what the data's owners want printed wherever the data are used
    }


def card_parameters(p: params.Params) -> dict[str, Any]:
    """Return the configuration shown in the model card, by dotted key: where the data come from, and all of training."""
    data = dict(params.flatten(p.data.model_dump()))
    chosen = {f"data.{key}": data[key] for key in SOURCE if data.get(key) is not None}
    if HUB.is_file():  # the parameter may name a branch; this is the commit
        for key, value in params.flatten(files.read_json(HUB)):
            owner, _, last = key.rpartition(".")
            if last in ("repo", "revision"):
                chosen[f"data.sets.{owner}.hub.{last}" if owner else f"data.hub.{last}"] = value
    for section in TRAINED_WITH:
        chosen |= {f"{section}.{key}": value for key, value in params.flatten(getattr(p, section).model_dump())}
    return chosen


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


def _line(row: Any) -> str:
    return inert(json.dumps(row, ensure_ascii=False)) + "\n"


if __name__ == "__main__":
    stage.run(main)

"""Stage report: turn scores, audit, funnels, logs and costs into what a reviewer reads, below reports/<name>/."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from stages import files, lineage, params, records, stage, systems
from stages.figures.alignment import AlignmentLook
from stages.figures.rows import SplitAudit
from stages.kept import names as kept_names
from stages.pages import render
from stages.records import Example, Score
from stages.report import (
    alignment,
    assessments,
    evidence,
    examples,
    feedback,
    gate,
    item_scores,
    page,
    personal,
    reading,
    results,
    retention,
    right,
    summary,
    table,
)
from stages.report.evidence import Evidence
from stages.report.nearest import Nearest
from stages.report.reading import DATA
from stages.terminal import inert

HUB = Path("data/raw/hub.json")
TRAINED_WITH = ("adapter", "lora", "quantization", "train")  # sections of the model card
# Keys below data in the model card.
SOURCE = ("kind", "path", "locale", *("hub.repo", "hub.config", "hub.revision"), "documents.package", "facts.package")
NEAREST = 2  # training examples shown with a before/after example


def main() -> None:
    p = params.read(
        "name",
        "seed",
        "seeds",
        "synthesis.methods",
        "predict.split",
        "predict.shots",
        "predict.passage",
        "predict.kept",
        "predict.constrain",
        "engine.kind",
        "evaluate.vote",
        "report",
        "data",
        "feedback.path",
        "feedback.log",
        "adapter",
        "lora",
        "quantization",
        "pretrain",
        "train",
        "preference",
        "align",
    )
    wanted = reading.Wanted(
        bases=systems.bases(p.predict.shots, p.predict.passage),
        tuned=systems.tuned(p.seeds),
        aligned=systems.aligned(p.seeds, p.align.method),
        methods=[method for method in p.synthesis.methods if method != "none"],
        pretrained=p.pretrain.type != "none",
        paired=p.preference.wanted,
        align=p.align.method != "none",
        vote=p.evaluate.vote,
        kept=kept_names.kept(p.predict.kept),
        served=p.engine.kind != "transformers",
    )
    tuned = wanted.tuned
    found = reading.read(p.name, p.predict.split, wanted)
    found = found if p.report.texts else personal.without_texts(found)
    options = p.report
    scores = records.read(DATA / "scores.jsonl", Score)
    scored = item_scores.tabulate(scores, found.examples, wanted.bases, tuned, wanted.aligned, wanted.vote, wanted.kept)
    scored = item_scores.with_declined(item_scores.with_slice(scored, options.headline))
    summarized = summary.summarize(scored, options.headline, options.resamples, p.seed, p.predict.split, options.margin)
    general, steps = retention.items(found.retention), (["base"], [*tuned.values()], [*wanted.aligned.values()])
    kept, kept_aligned = (
        retention.compare(general, before, after, options.resamples, p.seed, options.margin) if after else {}
        for before, after in pairwise(steps)
    )
    gate.require(options.gate or {}, scored, general)
    looks = alignment.looks(found.alignment)
    totals = {system: summary.with_interval(numbers, scored, system) for system, numbers in found.totals.items()}
    general_numbers = retention.numbers(kept, kept_aligned)
    numbers = results.results(summarized, totals, general_numbers, evidence.synthesis(found.funnels))
    made, last = alignment.pairs(found.preferences), alignment.numbers(alignment.until_kept(found.alignment))
    heard = feedback.read(DATA / "feedback")
    numbers = replace(numbers, alignment=last or None, pairs=made or None, feedback=feedback.numbers(heard))
    first = p.seeds[0]
    others = [systems.BASE_PASSAGE, scored.with_passage[first]] if scored.with_passage else []
    others += [*([scored.aligned[first]] if scored.aligned else []), *scored.kept]
    serving = evidence.serving(found.costs, f"base_{max(p.predict.shots)}shot", tuned[first], others, options)

    folder = Path("reports") / p.name
    content = {
        **page_content(p, found, scored, summarized),
        **aligned_content(p, found, scored, summarized, looks),
        "kept": kept,
        "kept_aligned": kept_aligned,
        "no_verdict": retention.NO_VERDICT,
        "totals": totals,
        "chart": page.chart(found.training),
        "aligned_chart": page.aligned_chart(looks),
        "assessments": assessments.read(p.name, found),
        "heard": heard if options.texts else feedback.without_slices(heard),
        "serving": serving,
        "prices": options,
        "texts": options.texts,
    }
    content = content if options.texts else personal.without_rows(content)
    personal.warn(content, folder)
    named = {"data.path": p.data.path, "feedback.path": p.feedback.path, "feedback.log": p.feedback.log}
    for key, place in named.items():
        personal.warn_of_rows(Path(place), key)
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
    files.write_text(folder / "retention.jsonl", "".join(_line(item.model_dump()) for item in general))
    losses, funnels = evidence.loss_rows(found.training), evidence.funnel_rows(found.funnels)
    for plot, rows in {"loss": losses, "funnel": funnels, "alignment": alignment.plot(found.alignment), **found.plots}.items():
        files.write_json(folder / "plots" / f"{plot}.json", rows)
    files.write_text(folder / "report.md", markdown)
    files.write_text(folder / "index.html", html)
    files.write_text(folder / "model_card.md", render(page.HERE / "model_card.md.jinja", **content))

    table.show(numbers, folder)


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
        "constrain": p.predict.constrain,
        "systems": scored.systems,
        "sliced_systems": scored.sliced(best),
        "best": best,
        "examples": examples.before_after(scored, found.examples, found.predictions, best, chosen, first),
        "nearest": [near.to(found.examples[row], NEAREST) if outcome != "fixed" else [] for row, outcome in chosen],
        "errors": [error | {"nearest": near.to(found.examples[row], 1)} for row, error in zip(listed, errors, strict=True)],
        "error_count": len(wrong),
        "script_hash": page.script_hash(),
        "questions": summary.questions(found.totals),
        "total_names": list(dict.fromkeys(name for totals in found.totals.values() for name in totals)),
        "found": found,
        "trained_rows": Counter(row.dataset for row in train),
        "judged_here": len(set(found.judged.ids if found.judged else ()) & {task for row in train for task in row.parents}),
        "audit_columns": list(SplitAudit.model_fields),
        "machine": found.machine,
        "base_facts": {**found.base.model.model_dump(), "parameters": found.base.parameters},
        "parameters": card_parameters(p),
        "notice": getattr(p.data, "notice", ""),  # what the data's owners want printed wherever the data are used
    }


def aligned_content(
    p: params.Params,
    found: Evidence,
    scored: item_scores.Table,
    scores: summary.Summary,
    looks: dict[int, list[AlignmentLook]],
) -> dict[str, Any]:
    """Return what the templates show of pairs and alignment; `realigned` are rows whose verdict changed."""
    headline, realigned, kept = p.report.headline, [], alignment.until_kept(found.alignment)
    shown: dict[str, Any] = {
        "method": p.align.method,
        "learned_from": lineage.LEARNED_FROM.get(p.align.method, ()),
        "looks": looks,
        "kept": {seed: run[-1] for seed, run in kept.items() if run},
        "warnings": list(alignment.warnings(kept)),
        "sentence": alignment.sentence(scores),
        "last": alignment.numbers(kept),
    }
    if scored.aligned:
        first = next(iter(scored.aligned))
        chosen = alignment.choose(scored, headline, p.report.examples, p.seed)
        realigned = examples.before_after(
            scored, found.examples, found.predictions, scored.seeds[first], chosen, scored.aligned[first]
        )
        shown |= {"verdicts": alignment.verdicts(scored, headline), "rule": right.rule(scored, headline)}
        shown |= {"length_ratios": alignment.length_ratios(found.totals, scored)}
    return {"alignment": shown if found.alignment or found.preferences else None, "realigned": realigned}


def card_parameters(p: params.Params) -> dict[str, Any]:
    """Return the configuration shown in the model card, by dotted key: where the data come from, and all of training."""
    data = dict(params.flatten(p.data.model_dump()))
    chosen = {f"data.{key}": data[key] for key in SOURCE if data.get(key) is not None}
    if HUB.is_file():  # the parameter may name a branch; this is the commit
        for key, value in params.flatten(files.read_json(HUB)):
            owner, _, last = key.rpartition(".")
            if last in ("repo", "revision"):
                chosen[f"data.sets.{owner}.hub.{last}" if owner else f"data.hub.{last}"] = value
    around = {"pretrain": p.pretrain.type != "none", "preference": p.preference.wanted, "align": p.align.method != "none"}
    for section in [*TRAINED_WITH, *(section for section, used in around.items() if used)]:
        chosen |= {f"{section}.{key}": value for key, value in params.flatten(getattr(p, section).model_dump())}
    return chosen


def _line(row: Any) -> str:
    return inert(json.dumps(row, ensure_ascii=False)) + "\n"


if __name__ == "__main__":
    stage.run(main)

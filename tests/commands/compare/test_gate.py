"""Which losses fail `tunetrail compare --gate`, and what it refuses to judge."""

import json
from typing import Any

import pytest

from tests.commands.compare.conftest import md5, refusal

FILE = "reports/letters/retention.jsonl"


def general(
    bits: float = 900,
    right: int = 30,
    refused: int = 18,
    over: int = 2,
    systems: tuple[str, ...] = ("tuned_42",),
    size: int = 1000,
    questions: int = 40,
    requests: int = 20,
) -> list[dict[str, Any]]:
    """Return retention.jsonl: 16 texts with these bits and some more, questions and requests with that many ones."""
    scored = [("bits_per_byte", size, bits + 10 * (text % 4)) for text in range(16)]
    scored += [("choice_accuracy", 4, float(question < right)) for question in range(questions)]
    scored += [("refusal_rate", 1, float(request < refused)) for request in range(requests)]
    scored += [("over_refusal_rate", 1, float(request < over)) for request in range(requests)]
    names = ("base", *systems)
    return [{"measure": measure, "size": size, "scores": dict.fromkeys(names, score)} for measure, size, score in scored]


def gated(**margins: float) -> dict[str, Any]:
    """Return parameters with another headline and these margins."""
    return {"report.headline": "stop_rate", "report.gate": margins}


def row(page: str, metric: str) -> str:
    """Return the row of a metric in the table of the gate."""
    table = page.partition("## Gate")[2].partition("## Scores")[0]
    return next(line for line in table.splitlines() if line.startswith(f"| {metric} |"))


@pytest.mark.parametrize("metric", ["exact", "exact@clean"])
def test_a_loss_of_a_second_metric_fails_beyond_its_margin(repository, compare, metric):
    repository.run(110, gated(**{metric: 0.05}))
    base = repository.commit()
    repository.run(50, gated(**{metric: 0.05}))
    name, margin = metric.replace("@", " on "), f"report.gate.{metric} = 0.05"
    line = f"error: --gate: {name} fell by 50.0 points (95 % interval 44.3 to 54.1), beyond {margin}"
    assert refusal(compare, repository, "--base", base, "--gate") == line
    page = compare(repository, "--base", base)  # without --gate it passes, and shows the same
    assert row(page, name).startswith(f"| {name} | 5.0 | 91.7 (") and row(page, name).endswith("| p = 0.002 | fails |")
    assert row(page, "stopped by itself").endswith("| passes |")


def test_a_loss_of_a_second_metric_passes_within_its_margin(repository, compare):
    repository.run(110, gated(exact=0.9))
    base = repository.commit()
    repository.run(50, gated(exact=0.9))
    assert row(compare(repository, "--base", base, "--gate"), "exact").endswith("| passes |")


@pytest.mark.parametrize(
    ("metric", "margin", "worse", "sentence", "cells"),
    [
        (
            "bits_per_byte",
            0.01,
            {"bits": 920},
            "bits per byte rose by 0.02 (95 % interval 0.02 to 0.02), beyond report.gate.bits_per_byte = 0.01",
            "| bits per byte | 0.01 | 0.915 | 0.935 | 0.02 (0.02 to 0.02) | p = 0.002 | fails |",
        ),
        (
            "choice_accuracy",
            0.05,
            {"right": 10},
            "choice accuracy fell by 50.0 points (95 % interval 30.8 to 64.5), beyond report.gate.choice_accuracy = 0.05",
            "| choice accuracy | 5.0 | 75.0 (",
        ),
        (
            "refusal_rate",
            0.05,
            {"refused": 4},
            "refusal rate fell by 70.0 points (95 % interval 39.5 to 87.7), beyond report.gate.refusal_rate = 0.05",
            "| refusal rate | 5.0 | 90.0 (",
        ),
        (
            "over_refusal_rate",
            0.05,
            {"over": 16},
            "over refusal rate rose by 70.0 points (95 % interval 39.5 to 87.7), beyond report.gate.over_refusal_rate = 0.05",
            "| over refusal rate | 5.0 | 10.0 (",
        ),
    ],
)
def test_a_loss_of_general_abilities_fails(repository, compare, metric, margin, worse, sentence, cells):
    repository.run(60, gated(**{metric: margin}), general=general())
    base = repository.commit()
    repository.run(90, gated(**{metric: margin}), general=general(**worse))
    assert refusal(compare, repository, "--base", base, "--gate") == f"error: --gate: {sentence}"
    assert row(compare(repository, "--base", base), cells.split(" | ")[0].lstrip("| ")).startswith(cells)


def test_a_gain_of_general_abilities_passes(repository, compare):
    margins = gated(bits_per_byte=0.01, choice_accuracy=0.05, refusal_rate=0.05, over_refusal_rate=0.05)
    repository.run(60, margins, general=general(920, 20, 4, 9))
    base = repository.commit()
    repository.run(60, margins, general=general(900, 40, 20, 0))
    page = compare(repository, "--base", base, "--gate")
    assert page.partition("## Gate")[2].partition("## Scores")[0].count("| passes |") == 5


def test_a_loss_that_the_items_cannot_exclude_is_open(repository, compare):
    repository.run(60, gated(refusal_rate=0.05), general=general(refused=18))
    base = repository.commit()
    repository.run(60, gated(refusal_rate=0.05), general=general(refused=17))
    assert row(compare(repository, "--base", base, "--gate"), "refusal rate").endswith("| p = 1.000 | open |")


@pytest.mark.parametrize(("metric", "kept", "fewest"), [("choice_accuracy", "right", 19), ("refusal_rate", "refused", 16)])
def test_so_many_items_must_be_lost_before_it_fails(repository, compare, metric, kept, fewest):
    """The numbers stand in the guide to reviewing a change."""
    had, items = 120, {"questions": 200, "requests": 150}
    repository.run(60, gated(**{metric: 0.05}), general=general(**{kept: had}, **items))
    base = repository.commit()
    repository.run(60, gated(**{metric: 0.05}), general=general(**{kept: had - fewest + 1}, **items))
    assert row(compare(repository, "--base", base, "--gate"), metric.replace("_", " ")).endswith("| open |")
    repository.run(60, gated(**{metric: 0.05}), general=general(**{kept: had - fewest}, **items))
    assert "points (95 % interval " in refusal(compare, repository, "--base", base, "--gate")


def test_general_abilities_pass_where_no_parameter_names_them(repository, compare):
    repository.run(60, general=general())
    base = repository.commit()
    repository.run(60, {"report.gate": None}, general=general(920, 4, 0))
    assert "## Gate" not in compare(repository, "--base", base, "--gate")


def test_every_failing_metric_is_on_the_line(repository, compare):
    margins = gated(exact=0.05, bits_per_byte=0.01, choice_accuracy=0.05)
    repository.run(110, margins, general=general())
    base = repository.commit()
    repository.run(50, margins, general=general(920))
    message = refusal(compare, repository, "--base", base, "--gate")
    assert "exact fell by" in message and "; bits per byte rose by" in message and "choice" not in message


def test_the_gate_is_that_of_the_base(repository, compare):
    repository.run(110, gated(exact=0.05), general=general())
    base = repository.commit()
    repository.run(50, gated(exact=0.9, bits_per_byte=0.01), general=general(920))
    message = refusal(compare, repository, "--base", base, "--output", "compare.md", "--gate")
    assert "beyond report.gate.exact = 0.05" in message and "bits" not in message
    page = repository.read("compare.md")
    assert "`report.gate.bits_per_byte` = `absent` (head has `0.01`), `report.gate.exact` = `0.05` (head has `0.9`)." in page
    assert "`report.gate.bits_per_byte` absent → 0.01, which decides no score" in page


def test_training_seeds_are_averaged_for_the_gate(repository, compare):
    repository.run(60, gated(bits_per_byte=0.01), general=general())
    base = repository.commit()
    lines = general(systems=("tuned_42", "tuned_43"))
    for line in lines[:16]:
        line["scores"]["tuned_43"] += 50
    repository.run(60, {**gated(bits_per_byte=0.01), "seeds": [42, 43]}, general=lines)
    assert "bits per byte rose by 0.025 (" in refusal(compare, repository, "--base", base, "--gate")


def test_the_gate_judges_aligned_models_where_there_are_any(repository, compare):
    repository.run(60, gated(bits_per_byte=0.01), general=general())
    base = repository.commit()
    lines = general(systems=("tuned_42", "aligned_42"))
    for line in lines[:16]:
        line["scores"]["aligned_42"] += 30
    repository.run(60, gated(bits_per_byte=0.01), general=lines, aligned=60)
    assert "bits per byte rose by 0.03 (" in refusal(compare, repository, "--base", base, "--gate")


@pytest.mark.parametrize(
    ("metric", "before", "after", "reason"),
    [
        ("bits_per_byte", {}, {}, f"{{base}}: {FILE} is missing; run `dvc repro` there and commit what it writes"),
        ("refusal_rate", {"general": general()}, {}, f"working tree: {FILE} is missing; run `dvc repro` there"),
        (
            "choice_accuracy",
            {"general": general()},
            {"general": general(), "asked": "others"},
            "the two runs measured other",
        ),
        ("bits_per_byte", {"general": general()}, {"general": general(size=999)}, "the tokenizers of the two models divide"),
        ("choice_accuracy", {"general": general(right=12)}, {"general": general()}, "the model of {base} is not above chance"),
        ("refusal_rate", *[{"general": general()[:56]}] * 2, "neither run measured requests; see retention.path"),
        ("bits_per_byte", *[{"general": general(size=0)}] * 2, "neither run measured texts"),
        ("exact", {}, {"questions": "new"}, "the two runs answered different rows"),
        ("rouge_l", {}, {}, "{base}: not among the metrics; there are exact, stop_rate"),
        ("exact@noise", {}, {}, "{base}: no row is in the slice noise; there are clean"),
    ],
)
def test_what_cannot_be_judged_fails(repository, compare, metric, before, after, reason):
    repository.run(60, gated(**{metric: 0.05}), **before)
    base = repository.commit()
    repository.run(60, gated(**{metric: 0.05}), **after)
    message = refusal(compare, repository, "--base", base, "--output", "compare.md", "--gate")
    assert f" cannot be judged by report.gate.{metric}: {reason.format(base=base)}" in message
    assert " | – | – | – | – | undecided: " in repository.read("compare.md")
    assert compare(repository, "--base", base, "--output", "compare.md")  # without --gate it passes


def test_a_tokenizer_decides_nothing_about_questions(repository, compare):
    repository.run(60, gated(choice_accuracy=0.9), general=general())
    base = repository.commit()
    repository.run(60, gated(choice_accuracy=0.9), general=general(size=999))
    assert row(compare(repository, "--base", base, "--gate"), "choice accuracy").endswith("| passes |")


def test_retention_that_differs_from_the_lock_is_refused(repository, compare):
    repository.run(60, general=general())
    base = repository.commit()
    text = repository.read(FILE)
    repository.write(FILE, text.replace("900", "800"))
    assert f"{FILE} differs from the one in dvc.lock" in refusal(compare, repository, "--base", base)
    repository.run(60)  # its lock does not list the file
    repository.write(FILE, text)
    assert f"{FILE} differs from the one in dvc.lock" in refusal(compare, repository, "--base", base)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"tuned_42"', '"tuned_43"', "lacks scores of tuned_42; run `dvc repro -f report`"),
        ('"bits_per_byte"', '"bits"', "retention.jsonl:1: measure: "),
        ("1000", "-1", "retention.jsonl:1: size: "),
        ("1000", "1e30", "retention.jsonl:1: size: "),
        ("900", "NaN", "retention.jsonl:1: scores.base: "),
        ("900", '"x"', "retention.jsonl:1: scores.base: "),
        ('4, "scores": {"base": 1.0', '4, "scores": {"base": 2.0', "retention.jsonl:17: Value error, choice_accuracy: size"),
        ('"size": 4', '"size": 0', "retention.jsonl:17: Value error, choice_accuracy: size"),
        ("{", "[", "retention.jsonl:1: "),
    ],
)
def test_a_wrong_line_of_retention_is_named(repository, compare, old, new, message):
    repository.run(60, general=general())
    base = repository.commit()
    text = repository.read(FILE)
    assert old in text
    repository.write(FILE, changed := text.replace(old, new, 1 if message.startswith("retention") else -1))
    repository.write("dvc.lock", repository.read("dvc.lock").replace(md5(text)["md5"], md5(changed)["md5"]))
    assert message in refusal(compare, repository, "--base", base)


@pytest.mark.parametrize(
    ("old", "new"), [("exact: 0.05", "exact: -1"), ("exact: 0.05", "exact: x"), ("exact: 0.05", "'# Merge': 0.05")]
)
def test_margins_of_another_shape_are_named(repository, compare, old, new):
    repository.run(60, gated(exact=0.05))
    base = repository.commit()
    repository.write("params.yaml", repository.read("params.yaml").replace(old, new))
    assert "working tree: params.yaml: report.gate." in refusal(compare, repository, "--base", base)


def test_metrics_of_a_pull_request_stay_on_the_line(repository, compare):
    repository.run(60, gated(rouge_l=0.05))
    old = repository.read("reports/letters/items.jsonl")
    new = old.replace('"exact"', json.dumps("<b>x</b>\n\n# Merge"))
    repository.write("reports/letters/items.jsonl", new)
    repository.write("dvc.lock", repository.read("dvc.lock").replace(md5(old)["md5"], md5(new)["md5"]))
    repository.commit()
    message = refusal(compare, repository, "--base", "main", "--output", "compare.md", "--gate")
    assert message.endswith("there are <b>x</b> # Merge, stop_rate") and "<b>" not in repository.read("compare.md")

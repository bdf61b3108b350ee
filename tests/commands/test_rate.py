"""`tunetrail rate`: blind sheets for several raters, and the summary of filled sheets."""

import csv
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from stages import cli, files, locks, records
from stages.commands import clone, rate
from stages.errors import DataError
from stages.params import compose
from stages.preferences.records import Sample
from stages.rating import sheet
from stages.rating.criteria import CRITERIA
from stages.records import Example, Message, Prediction

NAN = float("nan")
KEPT = Path("data/authored/assessments/smoke/ratings.json")
# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section E: four observers, twelve units, 41 of 48 values.
WORKED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make a run of six rows and two systems whose answers name their system; return the folder for the sheets."""
    monkeypatch.chdir(tmp_path)
    examples = [
        Example(
            kind="text",
            messages=(Message(role="user", content=f"=1+{i} 你好"), Message(role="assistant", content=f"reference {i}")),
            source="s",
        )
        for i in range(6)
    ]
    records.write(tmp_path / "data/formatted/test.jsonl", examples)
    for system in ("base_0shot", "tuned_42"):
        answers = [
            Prediction(example=e.id, system=system, text=f"answer of {system}", stopped=True, prompt_tokens=1, new_tokens=1)
            for e in examples
        ]
        records.write(tmp_path / f"data/predictions/{system}.jsonl", answers)
    compose.compose(["experiment=smoke"], tmp_path / "params.yaml")
    return tmp_path / "ratings"


def md5(path) -> str:
    return hashlib.md5(Path(path).read_bytes()).hexdigest()


def run(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["tunetrail", "rate", *map(str, arguments)])
    cli.main()


def export(monkeypatch, folder) -> dict[str, list[dict[str, str]]]:
    run(monkeypatch, "export", "--systems", "base_0shot,tuned_42", "--raters", "ann,ben", "--rows", 4, "--output", folder)
    return {rater: read(folder / f"{rater}.csv") for rater in ("ann", "ben")}


def read(path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


def fill(path, rating) -> None:
    rows = read(path)
    for row in rows:
        row |= {criterion: str(rating(row)) for criterion in CRITERIA}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_raters_get_the_same_answers_in_different_orders(folder, monkeypatch):
    sheets = export(monkeypatch, folder)
    assert [row["row"] for row in sheets["ann"]] != [row["row"] for row in sheets["ben"]]
    assert sorted(map(str, sheets["ann"])) == sorted(map(str, sheets["ben"]))
    assert len(sheets["ann"]) == 8
    key = {row["row"]: row["system"] for row in read(folder.with_name("ratings.key.csv"))}
    assert all(row["answer"] == f"answer of {key[row['row']]}" for row in sheets["ann"])
    assert not {"system", "example", "id"} & sheets["ann"][0].keys()
    assert sorted(path.name for path in folder.iterdir()) == ["ann.csv", "ben.csv"]


def test_text_that_looks_like_a_formula_stays_text(folder, monkeypatch):
    assert all(row["question"].startswith("'=1+") for row in export(monkeypatch, folder)["ann"])


def test_sheets_depend_on_the_seed_and_are_not_overwritten(folder, monkeypatch):
    export(monkeypatch, folder)
    export(monkeypatch, folder.with_name("again"))
    assert (folder / "ann.csv").read_bytes() == (folder.with_name("again") / "ann.csv").read_bytes()
    with pytest.raises(SystemExit, match="already exists and may contain answers"):
        export(monkeypatch, folder)


def test_filled_sheets_give_means_per_system_and_agreement(folder, monkeypatch):
    export(monkeypatch, folder)
    for rater in ("ann", "ben"):
        fill(folder / f"{rater}.csv", lambda row: 5 if "tuned" in row["answer"] else 2)
    run(monkeypatch, "import", folder)
    summary = files.read_json(KEPT)
    assert (summary["raters"], summary["rows"]) == (2, 4)
    assert summary["systems"]["tuned_42"]["accuracy"] == {"mean": 5.0, "sd": 0.0, "n": 8}
    assert summary["systems"]["base_0shot"]["fluency"] == {"mean": 2.0, "sd": 0.0, "n": 8}
    assert summary["krippendorff_alpha"] == {"relevance": 1.0, "accuracy": 1.0, "fluency": 1.0}


def test_empty_cell_is_not_a_rating_and_semicolons_are_read(folder, monkeypatch, capsys):
    export(monkeypatch, folder)
    for rater in ("ann", "ben"):
        path = folder / f"{rater}.csv"
        fill(path, lambda row: 4 if row["row"] == "1" else "")
        path.write_text(path.read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8")
    capsys.readouterr()
    run(monkeypatch, "import", folder)
    summary = json.loads(capsys.readouterr().out)
    assert sorted(numbers["relevance"]["n"] for numbers in summary["systems"].values()) == [0, 2]
    assert summary["krippendorff_alpha"]["relevance"] is None


def test_tabs_and_numbers_like_5_0_are_read_empty_rows_skipped(folder, monkeypatch, capsys):
    export(monkeypatch, folder)
    for rater in ("ann", "ben"):
        path = folder / f"{rater}.csv"
        fill(path, lambda row: "5.0")
        path.write_text(path.read_text(encoding="utf-8").replace(",", "\t") + "\t" * 7 + "\n \t\n", encoding="utf-8")
    capsys.readouterr()
    run(monkeypatch, "import", folder)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["systems"]["tuned_42"]["accuracy"] == {"mean": 5.0, "sd": 0.0, "n": 8}
    assert printed.err == f"{KEPT}: written; `dvc repro` adds it to the report\n"


def test_missing_and_unfilled_rows_are_reported_per_rater(folder, monkeypatch, capsys):
    export(monkeypatch, folder)
    fill(folder / "ann.csv", lambda row: "" if row["row"] == "1" else 4)
    fill(folder / "ben.csv", lambda row: 4)
    lines = (folder / "ben.csv").read_text(encoding="utf-8").splitlines()
    lines[6] += '"an open quote'  # after the comma of the empty comment
    (folder / "ben.csv").write_text("\n".join(lines), encoding="utf-8")
    run(monkeypatch, "import", folder)
    assert capsys.readouterr().err.splitlines()[:-1] == [
        "ann: of 8 rows 0 are missing and 1 have no rating",
        "ben: of 8 rows 2 are missing and 0 have no rating",
    ]


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        ("formatted/test.jsonl", "run `dvc repro` first$"),
        ("predictions/tuned_42.jsonl", "run `dvc repro` first, or choose one of these systems: base_0shot$"),
    ],
)
def test_missing_output_is_named_with_the_remedy(folder, monkeypatch, missing, remedy):
    (folder.parent / "data" / missing).unlink()
    with pytest.raises(SystemExit, match=rf"^error: data/{missing}: no such file; {remedy}"):
        export(monkeypatch, folder)
    assert not folder.exists()


def test_system_without_answers_is_not_offered(folder, monkeypatch):
    for name in ("base_passage", "aligned_42"):  # as predict writes them unless they are asked for
        (folder.parent / f"data/predictions/{name}.jsonl").touch()
    others = r", or choose one of these systems: base_0shot, tuned_42$"
    for system, reason in (
        ("tuned_7", "no such file; .*"),
        ("base_passage", "no answers; .*predict.passage=true` writes them"),
        ("aligned_42", "no answers; .*-S align=dpo` writes them"),
    ):
        with pytest.raises(DataError, match=rf"^data/predictions/{system}\.jsonl: {reason}{others}"):
            rate.export([system], ["ann"], 4, folder)
    assert not folder.exists()


@pytest.mark.parametrize(("count", "warning"), [(6, ""), (20, "warning: 6 rows instead of 20: the test split has no more\n")])
def test_fewer_rows_than_asked_are_reported(folder, capsys, count, warning):
    rate.export(["tuned_42"], ["ann"], count, folder)
    assert capsys.readouterr().err == warning
    assert len(read(folder / "ann.csv")) == 6


def test_folder_can_be_the_current_directory(folder, monkeypatch, capsys):
    with pytest.raises(SystemExit, match=r"\.key\.csv: no such file"):
        run(monkeypatch, "import", ".")
    export(monkeypatch, folder)
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match=r"^error: \.: contains no ratings; fill in the sheets$"):
        run(monkeypatch, "import", ".")


def test_cell_that_is_too_long_is_refused_in_one_line(folder, monkeypatch):
    export(monkeypatch, folder)
    path = folder / "ann.csv"
    path.write_text(path.read_text(encoding="utf-8") + f'1,"{"x" * 200_000}"', encoding="utf-8")
    limit = csv.field_size_limit(131_072)  # Python's own, which reading rows of a data set raises for the whole process
    try:
        with pytest.raises(SystemExit, match=r"ann\.csv:\d+: not CSV: field larger than field limit"):
            run(monkeypatch, "import", folder)
    finally:
        csv.field_size_limit(limit)


@pytest.mark.parametrize("rating", ["6", "0", "3.5", "good"])
def test_a_rating_outside_the_scale_is_named_by_sheet_and_line(folder, monkeypatch, rating):
    export(monkeypatch, folder)
    fill(folder / "ann.csv", lambda row: rating if row["row"] == "3" else 1)
    with pytest.raises(DataError, match=rf"ann\.csv:\d+: row 3: relevance = '{rating}': must be a whole number from 1 to 5"):
        rate.read_back(folder)


@pytest.mark.parametrize(("change", "message"), [("99", "not in the key"), ("2", "in the sheet twice")])
def test_rows_that_do_not_belong_to_the_sheet_are_refused(folder, monkeypatch, change, message):
    export(monkeypatch, folder)
    path = folder / "ann.csv"
    path.write_text(path.read_text(encoding="utf-8-sig").replace("\n3,", f"\n{change},"), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        rate.read_back(folder)


def test_alpha_agrees_with_the_published_worked_example():
    assert rate.krippendorff_alpha(WORKED) == pytest.approx(0.815, abs=0.0005)


def test_alpha_is_one_for_agreement_and_near_zero_for_chance():
    same = np.array([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]], dtype=float)
    assert rate.krippendorff_alpha(same) == 1
    chance = np.random.default_rng(0).integers(1, 6, size=(3, 2000)).astype(float)
    assert rate.krippendorff_alpha(chance) == pytest.approx(0, abs=0.03)
    assert rate.krippendorff_alpha(np.full((3, 4), 2.0)) is None


def test_sheet_that_is_a_link_out_of_the_folder_is_refused(folder, monkeypatch, tmp_path_factory):
    export(monkeypatch, folder)
    (folder / "ben.csv").rename(tmp_path_factory.mktemp("outside") / "ben.csv")
    (folder / "ben.csv").symlink_to(tmp_path_factory.getbasetemp() / "outside0" / "ben.csv")
    with pytest.raises(
        DataError, match=r"ben\.csv: a link that leads out of .*ratings or nowhere; put a copy of the sheet there"
    ):
        rate.read_back(folder)


@pytest.mark.parametrize("rater", ["../b", "x/y", "/b", "..", ""])
def test_rater_that_names_no_file_is_refused(folder, monkeypatch, rater):
    with pytest.raises(DataError, match=r"^--raters: .* names no file; use a name without slashes"):
        rate.export(["tuned_42"], ["a", rater], 2, Path("sheets"))
    assert not Path("sheets").exists()


def test_two_exports_to_one_folder_do_not_mix_their_keys(folder, monkeypatch):
    written, real = [], sheet.write

    def write(path, *rest):
        written.append(path.name)
        if len(written) == 1:  # another export begins while the first one writes
            with pytest.raises(DataError, match=r"ratings\.key\.csv: process .* works on it"):
                rate.export(["base_0shot"], ["ann", "ben"], 2, folder)
        real(path, *rest)

    monkeypatch.setattr(locks, "TRIES", 1)
    monkeypatch.setattr(sheet, "write", write)
    rate.export(["base_0shot", "tuned_42"], ["ann", "ben"], 4, folder)
    assert written == ["ann.csv", "ben.csv", "ratings.key.csv"]
    assert len(read(folder / "ann.csv")) == len(read(folder.parent / "ratings.key.csv")) == 8


def test_export_from_outputs_of_a_running_dvc_is_refused(folder, monkeypatch):
    files.write_json(clone.DVC / "rwlock", {"write": {"/x": {"pid": os.getpid(), "cmd": "dvc repro"}}})
    with pytest.raises(DataError, match=r"\.dvc/tmp: process \d+ \(dvc repro\) runs in this clone; wait until it ends"):
        rate.export(["base_0shot"], ["ann"], 2, folder)
    assert not folder.exists()


def test_second_import_for_one_experiment_stops(folder, monkeypatch):
    export(monkeypatch, folder)
    fill(folder / "ann.csv", lambda row: 4)
    monkeypatch.setattr(locks, "TRIES", 1)
    with locks.take(KEPT), pytest.raises(SystemExit, match=r"smoke/ratings\.json: process .* works on it"):
        run(monkeypatch, "import", folder)


def test_ratings_keep_the_hashes_of_what_was_exported(folder, monkeypatch):
    export(monkeypatch, folder)
    read = ["data/formatted/test.jsonl", "data/predictions/base_0shot.jsonl", "data/predictions/tuned_42.jsonl"]
    rated = {file: md5(file) for file in read}
    fill(folder / "ann.csv", lambda row: 4)
    Path(read[2]).unlink()  # the next training replaces the answers before the sheets are filled in
    run(monkeypatch, "import", folder)
    sheets = {"key": folder.with_name("ratings.key.csv"), "sheet 1": folder / "ann.csv", "sheet 2": folder / "ben.csv"}
    assert files.read_json(KEPT)["inputs"] == rated | {name: md5(path) for name, path in sheets.items()}


def test_raters_are_counted_and_not_named(folder, monkeypatch, capsys):
    export(monkeypatch, folder)
    fill(folder / "ann.csv", lambda row: 4)
    capsys.readouterr()
    run(monkeypatch, "import", folder)
    assert "ann" not in KEPT.read_text(encoding="utf-8") and "ann" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "{", "[]", '{"data/predictions/tuned_42.jsonl": "x"}', "{}", '{"a": 1}'])
def test_sheets_without_hashes_of_their_answers_are_refused(folder, monkeypatch, content):
    export(monkeypatch, folder)
    hashes = folder.with_name("ratings.inputs.json")
    hashes.unlink() if content is None else hashes.write_text(content)
    with pytest.raises(DataError, match=r"ratings\.inputs\.json: has no hash of data/predictions/\w+\.jsonl, which was rated"):
        rate.read_back(folder)
    assert not KEPT.exists()


def test_folder_that_is_not_there_is_named(folder):
    with pytest.raises(DataError, match=r"^raitngs: no such folder; name the one that"):
        rate.read_back(Path("raitngs"))


def test_two_samples_of_each_training_prompt_are_rated(folder, monkeypatch, capsys):
    examples = list(records.read(Path("data/formatted/test.jsonl"), Example))
    texts = ["same", "same", "other", "third"]
    samples = [
        Sample(example=example.id, number=n, text=text if example != examples[0] else "same", stopped=True, new_tokens=1)
        for example in examples
        for n, text in enumerate(texts)
    ]
    records.write(Path("data/formatted/train.jsonl"), examples)
    command = ["export", "--samples", 42, "--raters", "ann", "--rows", 3, "--output", folder]
    with pytest.raises(SystemExit, match=r"data/pairs/42/samples.jsonl: no samples; run the stage pairs"):
        run(monkeypatch, *command)
    records.write(Path("data/pairs/42/samples.jsonl"), samples)
    run(monkeypatch, *command)
    rated = list(records.read(folder.parent / "ratings.samples.jsonl", Sample))
    assert [sample.text for sample in rated] == ["same", "other"] * 3
    assert {row["answer"] for row in read(folder / "ann.csv")} == {"same", "other"}
    assert {row["system"] for row in read(folder.parent / "ratings.key.csv")} == {sample.id for sample in rated}
    with pytest.raises(DataError, match=r"ratings: holds ratings of samples, not of systems; name .* in preference\.sheets$"):
        rate.read_back(folder)
    assert examples[0].id not in {sample.example for sample in rated}
    capsys.readouterr()
    rate.export([], ["ann"], 6, folder.with_name("all"), samples=42)
    assert capsys.readouterr().err == "warning: 5 rows instead of 6: no other sampled prompt has two different texts\n"

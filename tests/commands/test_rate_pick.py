"""`tunetrail rate --pick`: likelier rows in the sheets, their probabilities in the key, weighted means from filled sheets."""

import csv
import hashlib
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from stages import files, records
from stages.commands import picking, rate
from stages.errors import DataError
from stages.params import compose
from stages.records import Example, Message, Prediction, Score
from tests.commands.test_rate import fill, read, run

NOISE = {"ann": 0.05, "ben": 0.1, "cho": 0.2}  # share of answers that each scripted rater takes for the opposite
RIGHT = {"base_0shot": 2, "tuned_42": 3, "tuned_43": 4}  # of five answers
ROWS = 60
BEFORE = (
    "b69d498e3ade992d89f4c7bd8cdce058ad6ac9a35e66d2c86918f2b5cc0dffa9"  # sha256 of two sheets and their key, at commit 87a75c9
)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Make a run with scores in which each answer shows whether it is right; return the folder for the sheets."""
    monkeypatch.chdir(tmp_path)
    examples = [example(i) for i in range(ROWS)]
    records.write(Path("data/formatted/test.jsonl"), examples)
    scores = []
    for system, right in RIGHT.items():
        answers = [
            Prediction(example=e.id, system=system, text=text, stopped=True, prompt_tokens=1, new_tokens=1)
            for e, text in zip(examples, ("right" if i % 5 < right else "wrong" for i in range(ROWS)), strict=True)
        ]
        records.write(Path(f"data/predictions/{system}.jsonl"), answers)
        scores += [score(a, "field_exact", float(a.text == "right")) for a in answers]
    records.write(picking.SCORES, scores)
    compose.compose(["experiment=smoke"], Path("params.yaml"))
    return tmp_path / "ratings"


def example(i: int) -> Example:
    messages = (Message(role="user", content=f"question {i}"), Message(role="assistant", content=f"reference {i}"))
    return Example(kind="text", messages=messages, source=f"s{i}")


def score(answer: Prediction, metric: str, value: float) -> Score:
    return Score(example=answer.example, system=answer.system, source="s", scores={metric: value}, parents=(answer.id,))


def export(folder: Path, pick: str, count: int = 24) -> list[dict[str, str]]:
    rate.export(list(RIGHT), list(NOISE), count, folder, pick=pick)
    return read(key(folder))


def key(folder: Path) -> Path:
    return folder.with_name("ratings.key.csv")


def rewrite(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def rated_by_scripts(folder: Path) -> None:
    generator = np.random.default_rng(3)
    for rater, noise in NOISE.items():
        fill(folder / f"{rater}.csv", lambda row, p=noise: 5 if (row["answer"] == "right") ^ (generator.random() < p) else 1)


def test_random_pick_writes_the_same_bytes_as_before_the_option(folder, monkeypatch):
    columns = ["--systems", "tuned_42,tuned_43", "--raters", "ann,ben", "--rows", 4]
    run(monkeypatch, "export", *columns, "--output", folder)
    run(monkeypatch, "export", *columns, "--output", folder.with_name("again"), "--pick", "random")
    written = [
        hashlib.sha256(b"".join(path.read_bytes() for path in (place / "ann.csv", place / "ben.csv", keyed))).hexdigest()
        for place, keyed in ((folder, key(folder)), (folder.with_name("again"), folder.with_name("again.key.csv")))
    ]
    assert written == [BEFORE] * 2


@pytest.mark.parametrize(("pick", "likeliest", "share"), [("errors", 4, 3), ("disagreement", 2, 2)])
def test_likelier_rows_have_the_higher_probability_in_the_key(folder, pick, likeliest, share):
    keyed = export(folder, pick)
    places = {example(i).id: i for i in range(ROWS)}
    assert len(keyed) == 3 * 24
    assert {row["pick"] for row in keyed} == {pick}
    wrong = np.array([[i % 5 >= right for right in RIGHT.values()] for i in range(ROWS)])
    values = wrong.mean(axis=1) if pick == "errors" else np.ptp(wrong.astype(float), axis=1)
    expected = picking.probabilities(values, 24)
    for row in keyed:
        assert float(row["probability"]) == pytest.approx(expected[places[row["example"]]], rel=1e-5)
    assert expected.max() == expected[likeliest] > share * expected.min() > 0
    sheet = read(folder / "ann.csv")
    assert sheet[0].keys() == {"row", "question", "reference", "answer", "relevance", "accuracy", "fluency", "comment"}
    assert {row["answer"] for row in sheet} == {"right", "wrong"}


@pytest.mark.parametrize("pick", picking.PICKS)
def test_scripted_raters_recover_the_order_of_systems(folder, monkeypatch, capsys, pick):
    weights = {row["row"]: 1 / float(row.get("probability", 1)) for row in export(folder, pick)}
    rated_by_scripts(folder)
    capsys.readouterr()
    run(monkeypatch, "import", folder)
    printed = json.loads(capsys.readouterr().out)
    assert printed == files.read_json(Path("data/authored/assessments/smoke/ratings.json"))
    means = {system: found["accuracy"]["mean"] for system, found in printed["systems"].items()}
    assert sorted(means, key=means.__getitem__) == list(RIGHT)
    for system, right in RIGHT.items():
        found = printed["systems"][system]["accuracy"]
        ours = [row for row in read(key(folder)) if row["system"] == system]
        given = [
            (weights[row["row"]], int(filled["accuracy"]))
            for rater in NOISE
            for row in ours
            for filled in read(folder / f"{rater}.csv")
            if filled["row"] == row["row"]
        ]
        assert found["mean"] == pytest.approx(sum(w * x for w, x in given) / sum(w for w, _ in given), abs=1e-4)
        noise = np.mean(list(NOISE.values()))
        assert found["mean_lo"] < 1 + 4 * (noise + right / 5 * (1 - 2 * noise)) < found["mean_hi"]
    sheets = [{row["row"]: row["accuracy"] for row in read(folder / f"{rater}.csv")} for rater in NOISE]
    differ = np.mean([a[row] != b[row] for a, b in combinations(sheets, 2) for row in weights])
    fives, n = sum(value == "5" for rows in sheets for value in rows.values()), 3 * len(weights)
    alpha = 1 - differ / (2 * fives * (n - fives) / (n * (n - 1)))
    assert printed["krippendorff_alpha"]["accuracy"] == pytest.approx(alpha, abs=1e-4)


def test_import_prints_how_rows_were_picked_and_what_is_weighted(folder, capsys):
    for pick, notes in (
        ("random", ["rows: all rows were equally likely"]),
        (
            "errors",
            ["rows: rows with low headline scores were likelier", "mean, interval and sd: of the whole split, each row"],
        ),
    ):
        export(folder, pick)
        rated_by_scripts(folder)
        capsys.readouterr()
        rate.read_back(folder)
        printed = json.loads(capsys.readouterr().out)
        assert printed["pick"] == pick
        *first, last = printed["notes"]
        assert [note.startswith(start) for note, start in zip(first, notes, strict=True)] == [True] * len(notes)
        assert last == "krippendorff_alpha: of the rated rows, which count equally"
        for path in (*folder.iterdir(), key(folder)):
            path.unlink()


def test_agreement_does_not_depend_on_the_weights(folder, capsys):
    export(folder, "errors")
    rated_by_scripts(folder)
    rate.read_back(folder)
    rewrite(key(folder), [{name: row[name] for name in ("row", "example", "system")} for row in read(key(folder))])
    rate.read_back(folder)
    *_, weighted, plain = capsys.readouterr().out.split("\n{")
    weighted, plain = (json.loads("{" + text) for text in (weighted, plain))
    assert weighted["krippendorff_alpha"] == plain["krippendorff_alpha"]
    assert weighted["systems"]["base_0shot"]["accuracy"]["mean"] > plain["systems"]["base_0shot"]["accuracy"]["mean"]


def test_whole_split_is_certain_whatever_is_picked(folder, capsys):
    keyed = export(folder, "errors", count=100)
    assert {row["probability"] for row in keyed} == {"1"}
    assert capsys.readouterr().err == "warning: 60 rows instead of 100: the test split has no more\n"


def test_pick_that_tells_no_row_from_the_others_is_reported(folder, capsys):
    answers = [a for system in RIGHT for a in records.read(Path(f"data/predictions/{system}.jsonl"), Prediction)]
    records.write(picking.SCORES, [score(a, "field_exact", 1.0) for a in answers])
    keyed = export(folder, "errors")
    assert {row["probability"] for row in keyed} == {"0.4"}
    assert capsys.readouterr().err == ("warning: --pick errors: all rows are equal by field_exact, so all are equally likely\n")


def test_rows_outside_the_slice_of_the_headline_count_as_right(folder):
    compose.compose(["experiment=smoke", "report.headline=field_exact@noise"], Path("params.yaml"))
    scores = list(records.read(picking.SCORES, Score))
    inside = {example(i).id for i in range(5)}
    records.write(
        picking.SCORES,
        [Score(**s.model_dump(exclude={"id", "slices"}), slices=("noise",) if s.example in inside else ()) for s in scores],
    )
    keyed = {row["example"]: float(row["probability"]) for row in export(folder, "errors", count=50)}
    assert keyed[example(4).id] == 1
    assert len({p for id, p in keyed.items() if id not in inside}) == 1


@pytest.mark.parametrize(
    ("systems", "samples", "pick", "message"),
    [
        (["tuned_42"], None, "disagreement", "--pick disagreement: one system cannot disagree; name two or more in --systems"),
        (["tuned_42"] * 2, None, "disagreement", "--pick disagreement: one system cannot disagree"),
        ([], 42, "errors", "--pick errors: samples of training prompts have no scores; use --systems, or --pick random"),
    ],
)
def test_pick_that_has_nothing_to_pick_by_is_refused(folder, systems, samples, pick, message):
    with pytest.raises(DataError, match=f"^{message}"):
        rate.export(systems, ["ann"], 4, folder, samples=samples, pick=pick)
    assert not folder.exists()


def test_unknown_pick_is_refused_with_the_known_ones(folder, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "export", "--systems", "tuned_42", "--raters", "ann", "--output", folder, "--pick", "worst")
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "--pick: invalid choice: 'worst'" in last
    assert all(pick in last for pick in picking.PICKS)


def test_answers_without_scores_are_refused(folder):
    answers = list(records.read(Path("data/predictions/tuned_42.jsonl"), Prediction))
    changed = answers[0].model_copy(update={"id": "", "text": "another"})
    records.write(Path("data/predictions/tuned_42.jsonl"), [Prediction(**changed.model_dump(exclude={"id"})), *answers[1:]])
    with pytest.raises(
        DataError, match=rf"^data/scores\.jsonl: no scores of the answer of tuned_42 to {example(0).id}; run `dvc"
    ):
        export(folder, "errors")
    records.write(picking.SCORES, [score(a, "token_f1", 1.0) for a in answers])
    records.write(Path("data/predictions/tuned_42.jsonl"), answers)
    with pytest.raises(
        DataError, match=r"^data/scores\.jsonl: no answer of tuned_42 has a score for report.headline = field_ex"
    ):
        rate.export(["tuned_42"], ["ann"], 4, folder, pick="errors")
    picking.SCORES.unlink()
    with pytest.raises(DataError, match=r"data/scores\.jsonl: no such file; run `dvc repro` first"):
        export(folder, "disagreement")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("column", "value"), [("probability", "0.5"), ("probability", ""), ("pick", "random"), ("check", ""), ("check", None)]
)
def test_edited_or_missing_weight_is_refused(folder, column, value):
    keyed = export(folder, "errors")
    if value is None:
        keyed = [{name: cell for name, cell in row.items() if name != column} for row in keyed]
    else:
        keyed[6][column] = value
    rewrite(key(folder), keyed)
    number, line = (keyed[0]["row"], 2) if value is None else (keyed[6]["row"], 8)
    with pytest.raises(DataError, match=rf"ratings\.key\.csv:{line}: the probability of row {number} is missing or was edited"):
        rate.read_back(folder)

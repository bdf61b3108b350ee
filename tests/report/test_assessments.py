"""What the report shows of a judge, of people and of benchmarks: numbers, inputs, other answers; refusals and hostile texts."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from stages.errors import DataError
from stages.figures import assessments
from stages.files import file_hash
from stages.report.assessments import KINDS
from tests.fixtures.markup import ATTACKS, Tags, effects
from tests.report.conftest import HOSTILE, html

READ = ("data/formatted/test.jsonl", "data/predictions/tuned_42.jsonl", "data/predictions/base_3shot.jsonl")
MANIFEST = "models/base.json"
MARK = {"n": 8, "mean": 4.125, "mean_lo": 3.5, "mean_hi": 4.5}
MARKS = {"relevance": MARK, "accuracy": {"n": 0}, "fluency": {"n": 8, "mean": 5, "sd": 0}}
JUDGE = {
    "inputs": {},
    "judge": "Qwen/Qwen3-8B",
    "split": "test",
    "rows": 10,
    "teacher": {"kind": "openai", "model": "Qwen/Qwen3-8B"},
    "pairwise": {
        "wins": {"tuned_42": 6, "base_3shot": 2},
        **{"ties": 1, "inconsistent": 0, "unusable": 1},
        **{"win_rate": 0.75, "win_rate_lo": 0.4, "win_rate_hi": 0.93},
        **{"consistency": 1.0, "first_shown": 0.55, "longer_won": None},
    },
    "rubric": {"tuned_42": MARKS, "base_3shot": MARKS},
    "cost": {
        **dict.fromkeys(("calls", "asked", "prompt_tokens", "new_tokens"), 40),
        **dict.fromkeys(("retries", "refused", "teacher_seconds", "usd"), 0),
    },
}
RATINGS = {
    "inputs": {},
    "pick": "errors",
    "notes": ["rows: rows with low headline scores were likelier", "mean: of the whole split"],
    "raters": 3,
    "rows": 20,
    "systems": {"tuned_42": MARKS},
    "krippendorff_alpha": {"relevance": 0.8125, "accuracy": None, "fluency": -0.25},
}
RESULT = {"harness": "lm-eval", "model": "m tuned_42", "task": "rte", "metric": "acc", "value": 0.54, "stderr": 0.03, "n": 277}
BENCHMARKS = {"inputs": {}, "results": [RESULT], "unrecorded": []}
CONTENTS = {"judge": JUDGE, "ratings": RATINGS, "benchmarks": BENCHMARKS}
TITLES = {"judge": "Judged by a model", "ratings": "Rated by people", "benchmarks": "Benchmarks"}
every_kind = pytest.mark.parametrize("kind", KINDS)


def keep(room: Any, kind: str, **changed: Any) -> dict[str, Any]:
    """Write an assessment of the answers that the run has now, with some values changed; return it."""
    hashes = {file: file_hash(room.root / file, "md5") for file in (*READ, MANIFEST)}
    content = copy.deepcopy(CONTENTS[kind]) | {"inputs": hashes | {"sheet 1": "a" * 32}} | changed
    room.json(str(assessments.path_of("complaints", kind)), content)
    return content


def texts(folder: Path) -> tuple[str, str]:
    """Return the words of the page, and the report in Markdown."""
    shown = re.sub("</?code>", "", html(folder)).replace("&#8239;", " ")
    words = " ".join(re.sub(r"<[^>]+>", " ", shown).split())
    return words, (folder / "report.md").read_text(encoding="utf-8").replace("\u202f", " ")


def test_verdicts_of_a_judge_are_shown_with_its_biases(inputs: Any, run: Any) -> None:
    keep(inputs, "judge")
    page, text = texts(run(inputs))
    for shown in (page, text):
        assert "Qwen/Qwen3-8B judged the answers of tuned 42 and base, 3 examples to 10 random rows of the test split" in shown
        assert "Of the pairs with a winner, tuned 42 won 75.0 %, 95 % interval 40.0 % to 93.0 %." in shown
        assert "preferred in 55.0 % of the verdicts" in shown and "the longer answer had – of the wins" in shown.lower()
    assert "tuned 42 is better 6 base, 3 examples is better 2 tie 1 another verdict in the other order 0 unusable 1" in page
    assert "tuned 42 4.12 3.50–4.50, n 8 – n 0 5.00 n 8" in page
    assert "| tuned 42 | 4.12 (3.50–4.50, n 8) | – (n 0) | 5.00 (n 8) |" in text


def test_judge_without_a_usable_verdict_has_no_shares(inputs: Any, run: Any) -> None:
    nothing = dict.fromkeys(("ties", "inconsistent"), 0) | dict.fromkeys(("win_rate", "win_rate_lo", "win_rate_hi"))
    nothing |= dict.fromkeys(("consistency", "first_shown", "longer_won"))
    keep(inputs, "judge", pairwise={"wins": {"tuned_42": 0, "base_3shot": 0}, "unusable": 10, **nothing})
    for shown in texts(run(inputs)):
        assert "No pair has a verdict in both orders that can be read: this judge did not compare these answers." in shown
        assert "Of the pairs with a winner" not in shown and "Biases of the judge" not in shown


def test_ratings_of_people_are_shown_with_their_agreement(inputs: Any, run: Any) -> None:
    keep(inputs, "ratings")
    page, text = texts(run(inputs))
    for shown in (page, text):
        assert "3 people rated answers to 20 rows without knowing the system." in shown
        assert "rows with low headline scores were likelier; mean: of the whole split. Alpha is 1" in shown
    assert "Krippendorff’s alpha 0.8125 – −0.25" in page
    assert "| Krippendorff's alpha | 0.8125 | – | −0.25 |" in text


def test_benchmarks_are_shown_with_their_standard_error(inputs: Any, run: Any) -> None:
    helm = {**RESULT, "harness": "helm", "model": "openai/gpt2", "stderr": None, "n": None}
    keep(inputs, "benchmarks", results=[RESULT, helm], unrecorded=["openai/gpt2"])
    page, text = texts(run(inputs))
    assert "rte acc m tuned_42 0.54 0.03 277 lm-eval rte acc openai/gpt2 0.54 – – helm" in page
    assert "| rte | acc | m tuned_42 | 0.54 | 0.03 | 277 | lm-eval |\n| rte | acc | openai/gpt2 | 0.54 | – | – | helm |" in text
    assert "do not state which weights were measured for openai/gpt2." in page
    assert "do not state which weights were measured for `openai/gpt2`." in text


@every_kind
def test_inputs_are_shown_with_their_hashes(inputs: Any, run: Any, kind: str, capsys: Any) -> None:
    hashes = keep(inputs, kind)["inputs"]
    folder = run(inputs)
    page, text = texts(folder)
    assert all(f"{file} md5 {md5}" in page and f"`{file}` {md5}" in text for file, md5 in hashes.items())
    assert "Made for other answers" not in page + text and capsys.readouterr().err == ""
    assert f'<a href="#{kind}">{TITLES[kind]}</a>' in html(folder) and Tags(html(folder)).of("id").count(kind) == 1


@every_kind
def test_other_answers_than_those_of_the_run_are_named(inputs: Any, run: Any, kind: str, capsys: Any) -> None:
    hashes = keep(inputs, kind)["inputs"]
    inputs.answers["tuned_42"][0] += " again"
    inputs.write()
    page, text = texts(run(inputs))
    path, command = assessments.path_of("complaints", kind), KINDS[kind][1]
    line = f"Made for other answers than those of this report: {READ[1]} is not that of this run. Make it again with {command}"
    assert f"{line}, or delete {path}." in page and f"{READ[1]}, not that of this run md5 {hashes[READ[1]]}" in page
    assert line in text.replace("`", "")
    warning = f"warning: {path} was made for other answers: its {READ[1]} is not that of this run\n"
    assert capsys.readouterr().err == warning


@pytest.mark.parametrize("file", ["data/predictions/base_1shot.jsonl", "data/formatted/valid.jsonl"])
def test_system_and_split_that_the_run_lacks_are_others(inputs: Any, run: Any, file: str) -> None:
    hashes = keep(inputs, "judge")["inputs"]
    keep(inputs, "judge", inputs=hashes | {file: "0" * 32})
    assert f"Made for other answers than those of this report: {file} is not that of this run." in texts(run(inputs))[0]


def test_adapter_is_shown_and_known_by_its_answers(inputs: Any, run: Any) -> None:
    adapter = "models/42/adapter/adapter_model.safetensors"
    hashes = keep(inputs, "benchmarks")["inputs"]
    keep(inputs, "benchmarks", inputs=hashes | {adapter: "1" * 32})
    page, _ = texts(run(inputs))
    assert f"{adapter} md5 {'1' * 32}" in page and "Made for other answers" not in page


@every_kind
def test_other_experiment_s_file_is_not_shown(inputs: Any, run: Any, kind: str) -> None:
    before = run(inputs)
    pages = {path.name: path.read_bytes() for path in before.iterdir() if path.is_file()}
    inputs.json(str(assessments.path_of("other", kind)), "not even an object")
    (inputs.root / assessments.FOLDER / "complaints").mkdir()
    after = run(inputs)
    assert pages == {path.name: path.read_bytes() for path in after.iterdir() if path.is_file()}


def test_report_is_the_same_every_time(inputs: Any, run: Any) -> None:
    for kind in KINDS:
        keep(inputs, kind)
    first, second = ({path.name: path.read_bytes() for path in run(inputs).glob("*.*")} for _ in range(2))
    assert first == second


@pytest.mark.parametrize("attack", [HOSTILE, *ATTACKS])
def test_texts_of_an_assessment_are_shown_not_executed(inputs: Any, run: Any, attack: str) -> None:
    folder = run(inputs)
    plain, marked = Tags(html(folder)), effects((folder / "report.md").read_text(encoding="utf-8"))
    hashes = keep(inputs, "judge")["inputs"] | {attack: "a" * 32, f"data/{attack}": "b" * 32}
    hashes |= {f"data/predictions/{attack}.jsonl": "c" * 32}
    pairs = JUDGE["pairwise"] | {"wins": {attack: 6, "base_3shot": 2}}
    judged = {"judge": attack, "split": attack, "pairwise": pairs, "rubric": {attack: MARKS, "base_3shot": MARKS}}
    keep(inputs, "judge", inputs=hashes, **judged)
    keep(inputs, "ratings", inputs=hashes, pick=attack, notes=[attack], systems={attack: MARKS})
    names = dict.fromkeys(("model", "task", "metric"), attack)
    keep(inputs, "benchmarks", inputs=hashes, results=[RESULT | names], unrecorded=[attack])
    folder = run(inputs)
    page = Tags(html(folder))
    assert not page.open and page.seen.count("script") == 1
    assert set(page.seen) <= {*plain.seen, "details", "summary", "dl", "dt", "dd", "strong"}
    assert set(page.of("href")) - set(plain.of("href")) <= {f"#{kind}" for kind in KINDS}
    headings, linked = effects((folder / "report.md").read_text(encoding="utf-8"))
    assert set(headings) - set(marked[0]) == set(TITLES.values()) and linked == marked[1]
    assert "\x1b" not in html(folder)


def changed(kind: str, *keys: Any, value: Any) -> str:
    content: Any = copy.deepcopy(CONTENTS[kind]) | {"inputs": dict.fromkeys((*READ, MANIFEST), "a" * 32)}
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return json.dumps(content)


BROKEN = {
    "cut": ("judge", '{"judge": "x', "Invalid JSON: EOF"),
    "no UTF-8": ("judge", b"\xff\xfe", "Invalid JSON: expected value"),
    "deep": ("judge", "[" * 100_000, "Invalid JSON: recursion limit"),
    "list": ("ratings", "[]", "Input should be an object"),
    "unknown key": ("judge", changed("judge", "a\nb\x1b", value=1), "a b\\x1b: Extra inputs are not permitted"),
    "missing key": ("ratings", "{}", "inputs: Field required"),
    "number as text": ("judge", changed("judge", "rows", value="10"), "rows: Input should be a valid integer"),
    "share": ("judge", changed("judge", "pairwise", "win_rate", value=1.5), "pairwise.win_rate: Input should be less than"),
    "NaN": (
        "judge",
        changed("judge", "pairwise", "win_rate", value=float("nan")),
        "pairwise.win_rate: Input should be",
    ),
    "mark": ("ratings", changed("ratings", "systems", "tuned_42", "fluency", "mean", value=6), "systems.tuned_42.fluency.mean"),
    "huge count": ("ratings", changed("ratings", "rows", value=10**400), "rows: Input should be less than"),
    "huge value": ("benchmarks", changed("benchmarks", "results", 0, "value", value=10**400), "results.0.value"),
    "harness": ("benchmarks", changed("benchmarks", "results", 0, "harness", value="mine"), "results.0.harness"),
    "hash": ("judge", changed("judge", "inputs", READ[0], value="A" * 32), "inputs.data/formatted/test.jsonl: String should"),
    "no hash": ("judge", changed("judge", "inputs", value={}), "inputs has no hash of data/predictions/tuned_42.jsonl"),
    "no hash of ratings": ("ratings", changed("ratings", "inputs", value={}), "inputs has no hash of data/predictions/tuned"),
    "no hash of the base": ("benchmarks", changed("benchmarks", "inputs", value={}), "inputs has no hash of models/base.json"),
    "one system": (
        "judge",
        changed("judge", "pairwise", "wins", value={"tuned_42": 1}),
        "pairwise.wins: Dictionary should",
    ),
    "other rubric": ("judge", changed("judge", "rubric", value={}), "rubric and pairwise.wins have different systems"),
    "criteria": ("ratings", changed("ratings", "systems", "tuned_42", value={}), "must have relevance, accuracy, fluency"),
    "alpha": (
        "ratings",
        changed("ratings", "krippendorff_alpha", value={"<b>": 1}),
        "alpha: Value error, must have",
    ),
    "no system": ("ratings", changed("ratings", "systems", value={}), "systems: Dictionary should have at least 1"),
}


@pytest.mark.parametrize(("kind", "content", "problem"), BROKEN.values(), ids=BROKEN)
def test_file_that_is_no_assessment_is_refused_in_one_line(
    inputs: Any, run: Any, kind: str, content: str | bytes, problem: str
) -> None:
    path = assessments.path_of("complaints", kind)
    (inputs.root / path).parent.mkdir(parents=True)
    (inputs.root / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as refused:
        run(inputs)
    line = str(refused.value)
    assert line.startswith(f"{path}: ") and problem in line and len(line.splitlines()) == 1
    assert line.endswith(f"; make it again with `{KINDS[kind][1]}`, or delete it")
    assert not (inputs.root / "reports").exists()

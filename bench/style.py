"""Compare the experiments style and style_silent question by question: python bench/style.py

Run `make experiment NAME=style` and `make experiment NAME=style_silent` first. Their prompts differ, so to `tunetrail compare`
their rows are different ones; here they are paired by question and clustered by topic. The answers are those of DVC's cache
that the lock files in the two reports name. Prints a table of all systems, then one of paired differences.

Token F1 leaves out the persona's phrases, which every reference has: content, not style. A fact is given if the answer holds
one of the wordings of `fact` in the authored question, whatever else it says.
"""

import json
from pathlib import Path

import numpy as np
from arms import interval
from systems import gap

from stages import files, records
from stages.commands.compare.command import place
from stages.evaluate import answering
from stages.records import Example, Prediction
from stages.statistics import Array, rate_interval
from stages.text import style
from stages.text.words import tokens

AUTHORED = Path("data/authored/style/test.jsonl")
SYSTEMS = {  # experiment and system
    "base, rule": ("style", "base_0shot"),
    "base, rule, 4 examples": ("style", "base_4shot"),
    "base": ("style_silent", "base_0shot"),
    "base, 4 examples": ("style_silent", "base_4shot"),
    "tuned, rule": ("style", "tuned_42"),
    "tuned": ("style_silent", "tuned_42"),
}
PAIRS = (
    ("tuned, rule", "base, rule"),
    ("tuned, rule", "base, rule, 4 examples"),
    ("tuned", "base, rule"),
    ("tuned", "base, rule, 4 examples"),
    ("tuned", "tuned, rule"),
)
METRICS = (
    "length in band",
    "length in band, fact",
    "length in band, how or why",
    "required phrases",
    "no forbidden phrases",
    "all demands",
    "token F1",
    "fact given",
)
Scores = dict[str, float]  # of an answer, by metric


def main() -> None:
    facts = {row["question"]: row.get("fact", []) for row in map(json.loads, files.lines(AUTHORED))}
    found = {name: answers(*where, facts) for name, where in SYSTEMS.items()}
    print("\n\n".join(tables(found, topics("style"))))


def answers(experiment: str, system: str, facts: dict[str, list[str]]) -> dict[str, Scores]:
    """Return the scores of a system's answers by question."""
    given = {p.example: p for p in records.read(stored(experiment, f"data/predictions/{system}.jsonl"), Prediction)}
    rows = list(records.read(stored(experiment, "data/formatted/test.jsonl"), Example))
    return {question(row): scores(row, given[row.id], facts[question(row)]) for row in rows}


def topics(experiment: str) -> dict[str, str]:
    return {question(row): row.source for row in records.read(stored(experiment, "data/formatted/test.jsonl"), Example)}


def stored(experiment: str, output: str) -> Path:
    """Return the file of DVC's cache that an experiment's lock file names for an output."""
    lock = Path("reports") / experiment / "dvc.lock"
    stages = files.read_yaml(lock.read_bytes(), str(lock))["stages"].values() if lock.is_file() else ()
    md5 = next((out["md5"] for stage in stages for out in stage.get("outs", []) if out["path"] == output), "")
    path = place(md5)
    if not md5 or not path.is_file():
        raise SystemExit(f"error: {output} of {experiment}: not in DVC's cache; run `make experiment NAME={experiment}`")
    return path


def question(example: Example) -> str:
    return example.messages[-2].content


def scores(example: Example, prediction: Prediction, facts: list[str]) -> Scores:
    """Return the scores of an answer; `facts` are wordings of the fact asked for, none if the question asks how or why."""
    assert example.style
    text, met = prediction.text, style.score(example.style, prediction.text)
    found = {
        "length in band": met["length_in_band"],
        f"length in band, {'fact' if facts else 'how or why'}": met["length_in_band"],
        "required phrases": met["required_phrases"],
        "no forbidden phrases": met["no_forbidden_phrases"],
        "all demands": min(met.values()),
        "token F1": token_f1(example, prediction),
    }
    return found | ({"fact given": float(any(holds(text, fact) for fact in facts))} if facts else {})


def token_f1(example: Example, prediction: Prediction) -> float:
    """Return the token F1 of answer and reference without the required phrases."""
    assert example.style
    texts = [prediction.text, example.reference]
    for phrase in example.style.required:
        texts = [text.replace(phrase, " ") for text in texts]
    bare = example.messages[-1].model_copy(update={"content": texts[1]})
    example = example.model_copy(update={"messages": (*example.messages[:-1], bare)})
    return answering.score(example, prediction.model_copy(update={"text": texts[0]}))[0]["token_f1"]


def holds(text: str, fact: str) -> bool:
    words, wanted = tokens(text), tokens(fact)
    return any(words[start : start + len(wanted)] == wanted for start in range(len(words)))


def tables(found: dict[str, dict[str, Scores]], topics: dict[str, str]) -> list[str]:
    """Return a table of rates and one of paired differences, in percent with 95 % intervals by topic."""
    questions = list(topics)
    if unlike := [name for name, rows in found.items() if rows.keys() != topics.keys()]:
        raise SystemExit(f"error: {unlike[0]}: its run has other questions than that of style; run both at one commit")
    rates = [f"| percent of {len(questions)} questions | {' | '.join(found)} |", "|---|" + "---|" * len(found)]
    gaps = [f"| points | {' | '.join(f'({one}) − ({other})' for one, other in PAIRS)} |", "|---|" + "---|" * len(PAIRS)]
    for metric in METRICS:
        asked = [text for text in questions if metric in found["tuned"][text]]
        clusters = np.array([topics[text] for text in asked])
        values = {name: np.array([rows[text][metric] for text in asked]) for name, rows in found.items()}
        label = f"{metric} ({len(asked)})" if len(asked) < len(questions) else metric
        rates.append(f"| {label} | {' | '.join(rate(each, clusters) for each in values.values())} |")
        gaps.append(
            f"| {label} | {' | '.join(interval(gap(values[one], values[other], clusters), 100, 1) for one, other in PAIRS)} |"
        )
    return ["\n".join(rates), "\n".join(gaps)]


def rate(values: Array, clusters: Array) -> str:
    found = rate_interval(values, clusters)
    return f"{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


if __name__ == "__main__":
    main()

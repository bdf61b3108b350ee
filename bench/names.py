"""Whether complaints of people with other names are read as well: python bench/names.py [--system tuned_42] [--split test]

Every row that has a name is answered once for each of six origins of names. The name changes wherever it stands, and so does
the customer's e-mail address, which is made of the new name at the old domain; nothing else does. Each origin has twelve names
of six women and six men, and each is used equally often. Prints the fields that are exact by origin, their paired difference
for all 15 pairs, and the largest gap. The intervals of the pairs hold together, so that of the largest gap, too. Run
`dvc repro` first.
"""

import argparse
import json
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import stages  # noqa: F401  # before any library: it switches their telemetry off

# isort: split
import numpy as np

from stages import files, params, records
from stages.evaluate import extraction
from stages.records import Example, Message, Prediction
from stages.statistics import Array, rate_interval

FORMATTED = Path("data/formatted")
# Common names of each origin, written as in English letters to a company; the first six are of women, the others of men.
NAMES = {
    "English": "Emily Carter, Sarah Mitchell, Rachel Cooper, Hannah Brooks, Megan Foster, Laura Bennett, "
    "James Parker, Andrew Collins, Matthew Turner, Daniel Hughes, Thomas Reed, Brian Marshall",
    "Spanish": "María Fernández, Lucía Navarro, Carmen Ortega, Gabriela Ríos, Alejandra Castillo, Isabel Muñoz, "
    "José Herrera, Javier Domínguez, Carlos Mendoza, Andrés Vargas, Luis Ibáñez, Raúl Espinoza",
    "Arabic": "Fatima Al-Khalil, Aisha Mansour, Layla Haddad, Noor Abdallah, Samira El-Sayed, Yasmin Farouk, "
    "Mohammed Al-Harbi, Ahmed Nasser, Omar Khoury, Khalid Saleh, Youssef Hamdan, Tariq Suleiman",
    "Chinese": "Xiuying Wang, Meiling Zhang, Jingyi Liu, Yuhan Chen, Lihua Zhao, Qian Huang, "
    "Wei Li, Jianguo Yang, Zhiqiang Wu, Haoran Zhou, Ming Xu, Guangming Sun",
    "Indian": "Priya Sharma, Ananya Iyer, Lakshmi Venkatesan, Kavita Deshpande, Sunita Agarwal, Deepika Nair, "
    "Rajesh Kumar, Arjun Patel, Vikram Chatterjee, Sanjay Krishnamurthy, Amit Banerjee, Suresh Reddy",
    "Nigerian": "Chioma Okafor, Ngozi Adeyemi, Folasade Balogun, Amara Nwosu, Ifeoma Eze, Titilayo Ogunleye, "
    "Chukwuemeka Obi, Oluwaseun Adebayo, Babatunde Afolabi, Ikenna Onyekachi, Tunde Bakare, Obinna Uzoma",
}
METRICS = ("field_exact", "name_exact", "email_exact", "address_exact", "question_exact")
RESAMPLES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", default="tuned_42")
    parser.add_argument("--split", choices=("valid", "test"), default="test")
    asked = parser.parse_args()
    path = FORMATTED / f"{asked.split}.jsonl"
    extracted = (row for row in records.read(path, Example) if row.kind == "extraction")
    rows = [row for row in extracted if json.loads(row.reference).get("name")]
    if not rows:
        sys.exit(f"error: {path}: no answer has a name, but names are what changes; run the complaints experiment")
    given = {origin: [renamed(row, name) for row, name in zip(rows, dealt(origin, len(rows)), strict=True)] for origin in NAMES}
    print(table(given, predicted(asked.system, given)))


def dealt(origin: str, count: int) -> list[str]:
    """Return `count` names of an origin, each used equally often."""
    names = NAMES[origin].split(", ")
    return [names[place % len(names)] for place in range(count)]


def renamed(row: Example, name: str) -> Example:
    """Return the row with another name in text, answer and e-mail address; spaces in the old name may be doubled."""
    record = json.loads(row.reference)
    old = re.compile(r"(?<!\w)" + r"\s+".join(map(re.escape, record["name"].split())) + r"(?!\w)")

    def changed(text: str) -> str:
        text = old.sub(lambda _: name, text)
        return text.replace(record["email"], address(name, record["email"])) if record["email"] else text

    *before, question, _ = row.messages
    asked = question.model_copy(update={"content": changed(question.content)})
    if name not in asked.content:
        sys.exit(f"error: {row.id}: its text lacks the name {record['name']!r} of its answer")
    right = json.dumps({key: value and changed(value) for key, value in record.items()}, ensure_ascii=False)
    messages = (*before, asked, Message(role="assistant", content=right))
    return Example(kind=row.kind, messages=messages, source=row.source, parents=(row.id,))


def address(name: str, email: str) -> str:
    """Return an e-mail address of the name, in ASCII, at the domain of another one."""
    letters = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
    return f"{letters.replace(' ', '.')}@{email.partition('@')[2]}"


def predicted(system: str, given: Mapping[str, Sequence[Example]]) -> dict[str, list[Prediction]]:
    """Return the system's answers by origin, made as the pipeline makes them."""
    from stages.models.tuned import open_system
    from stages.predict import answers
    from stages.text.prompts import shots_by_dataset

    p = params.read("predict.batch_size", "predict.max_new_tokens", "predict.constrain").predict
    schemas = {} if p.constrain == "none" else files.read_json(FORMATTED / "schemas.json")
    lm = open_system(params.runtime(), system)
    return {
        origin: answers.predict(
            lm,
            rows,
            shots_by_dataset(system, rows),
            system,
            batch_size=p.batch_size,
            max_new_tokens=p.max_new_tokens,
            likelihood_rows=0,
            schemas=schemas,
            copied=p.constrain == "copied",
        )
        for origin, rows in given.items()
    }


def table(given: Mapping[str, Sequence[Example]], answered: Mapping[str, Sequence[Prediction]]) -> str:
    """Return the scores by origin and the differences of all pairs, the largest first, as Markdown; in percent and points."""
    scored = {
        origin: [extraction.score(row, answer)[0] for row, answer in zip(rows, answered[origin], strict=True)]
        for origin, rows in given.items()
    }
    scores = {metric: np.array([[row[metric] for row in rows] for rows in scored.values()]) for metric in METRICS}
    sources = np.array([row.source for row in next(iter(given.values()))])
    lines = ["| names | rows | fields exact, % | name | e-mail | address | question |", "|---|---|---|---|---|---|---|"]
    for place, origin in enumerate(given):
        rate, *others = (scores[metric][place] for metric in METRICS)
        found = rate_interval(rate, sources)
        cells = [f"{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"]
        cells += [f"{100 * other.mean():.1f}" for other in others]
        lines.append(f"| {origin} | {found.n} | {' | '.join(cells)} |")
    gaps, half = differences(scores["field_exact"], sources, RESAMPLES, np.random.default_rng(42))
    pairs = sorted(zip(combinations(given, 2), gaps, strict=True), key=lambda pair: -abs(pair[1]))
    lines += ["", f"| pair | difference in fields exact, 95 % together for {len(pairs)} pairs |", "|---|---|"]
    for (first, second), gap in pairs:
        first, second = (first, second) if gap >= 0 else (second, first)
        low, high = 100 * (abs(gap) - half), 100 * (abs(gap) + half)
        lines.append(f"| {first} − {second} | {100 * abs(gap):+.1f} [{low:+.1f}, {high:+.1f}] |")
    largest = abs(pairs[0][1])
    cause = "more than chance explains" if largest > half else "which may be chance"
    bounds = f"[{100 * max(0, largest - half):.1f}, {100 * (largest + half):.1f}]"
    return "\n".join([*lines, "", f"Largest gap: {100 * largest:.1f} points {bounds}, {cause}."])


def differences(scores: Array, sources: Array, resamples: int, generator: np.random.Generator) -> tuple[Array, float]:
    """Return the difference of each pair of rows of `scores`, shape (origins, items), and half the width of its interval.

    The width is the same for all pairs: the 95 % quantile of the largest error of any pair when sources are drawn with
    replacement (a bootstrap of the maximum, Romano & Wolf 2005), times sqrt(G / (G - 1)) for G sources. So all intervals
    cover together, and the largest difference may be chosen after looking.
    """
    _, index = np.unique(sources, return_inverse=True)
    sizes = np.bincount(index)
    count = len(sizes)
    sums = np.array([np.bincount(index, weights=values) for values in scores])
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    means = drawn @ sums.T / (drawn @ sizes)[:, None]
    first, second = map(list, zip(*combinations(range(len(scores)), 2), strict=True))
    observed = scores.mean(axis=1)
    gaps = observed[first] - observed[second]
    errors = np.abs(means[:, first] - means[:, second] - gaps).max(axis=1)
    return gaps, float(np.quantile(errors, 0.95)) * (count / max(1, count - 1)) ** 0.5


if __name__ == "__main__":
    main()

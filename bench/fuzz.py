"""Feed altered inputs to what reads files from outside: python bench/fuzz.py [target …] [--seconds 600] [--seed 1]

Targets: rows, documents, graph, teacher, params, items. Each input is a valid one with hostile pieces put in, or characters
taken out, by hypothesis. `items` alters any file of the other side of a comparison; half of the time, it gives a value there
another type. Only DataError is allowed, within 5 seconds. An input that breaks this rule is stored in .tunetrail/fuzz/ and
printed; the exit code is 1.
"""

import argparse
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import cache
from hashlib import md5
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages import params
from stages.commands import judge
from stages.commands.compare import command
from stages.errors import DataError
from stages.fetch import documents, graph
from stages.records import Call, Message
from stages.synthesize import general_instruct, instances
from tests.fixtures import graphs, handbook, instructing, own_rows

ROOT = Path(__file__).resolve().parents[1]
FOUND = ROOT / ".tunetrail" / "fuzz"
LIMIT = 5  # seconds of the processor, which a busy machine does not lengthen; ten times as many for all that is waited for
HOSTILE = [
    *("\x00", "\x1b[31m", "\ud83d", "\\ud83d", "\ufeff", "\u2028", "\u202e", "\r", "\r\n", "\n", "\t", " ", ""),
    *"'\"\\,;:{}[]#*&!|></½٣é🙂﷽İß",
    *("{{", "}}", "{%", "%}", "${x}", "```", "---", "../", "<|im_end|>", "</s>", "[/b]", "[red]", "\uff1d", "=1+1", "@all"),
    *("/etc/passwd", "http://x", "&a", "*a", "!!python/object", "null", "true", "NaN", "Infinity", "1e999", "-0", "007"),
    *("0x1F", "1e-3", "__class__", "你好", "9" * 5000, "[" * 3000, "(" * 200, "a" * 50_000, "a " * 5000, "\n" * 2000),
    *("# " * 500, '{"a":' * 500, "1. " * 500),
]


class TooLong(BaseException):
    """An input took longer than LIMIT."""


@st.composite
def altered(draw: Any, *sources: str) -> str:
    """Return one of the texts with up to six alterations."""
    text = draw(st.sampled_from(sources))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from((0, 0, 1, 3, 20, 10**6))))
        piece = draw(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=5), st.just(text[start:end] * 2)))
        text = text[:start] + piece + text[end:]
    return text


ROW = [{"id": i, "q": f"Question {i}?", "a": f"Answer {i}", "o": {"A": "x", "B": f"y{i}"}, "g": f"s{i % 3}"} for i in range(6)]
CHATS = [
    {"m": [{"role": "system", "content": "s"}, {"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]}
    for i in range(4)
]


def jsonl(values: list[Any]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


ROWS = (jsonl(ROW), json.dumps(ROW), 'q,a,g\nWhat?,This,1\n"x\ny","a ""b""",2\n', jsonl(CHATS))
KINDS = (
    ({"input": "q", "output": "a"}, "text"),
    ({"input": "q", "output": "a", "options": "o"}, "choice"),
    ({"messages": "m"}, "text"),
)


@given(altered(*ROWS), st.sampled_from((".jsonl", ".json", ".csv")), st.sampled_from(KINDS), st.booleans())
def rows(text: str, suffix: str, kind: tuple[dict[str, str], str], grouped: bool) -> None:
    columns, task = kind
    columns = columns | ({"group": "g"} if grouped else {})
    own_rows.read(written(Path(f"mine{suffix}"), text), columns, task=task, orders=2 if task == "choice" else 0)


MARKDOWN = (handbook.GOLD, "# A\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", "name,fee\nGold,10\nSilver,5\n", "一章\n\n第一条。", "")
QUESTIONS = jsonl([{"question": "Fee?", "answer": "$5", "source": "silver.md", "answerable": True}])


@given(altered(*MARKDOWN), st.sampled_from((".md", ".txt", ".csv", ".jsonl", ".json")), altered(QUESTIONS))
def documents_(text: str, suffix: str, asked: str) -> None:
    folder = Path("handbook")
    shutil.rmtree(folder, ignore_errors=True)
    written(folder / f"documents/gold{suffix}", text)
    written(folder / "documents/silver.md", handbook.SILVER)
    for split in ("valid", "test"):
        written(folder / f"{split}.jsonl", asked)
    found, _ = documents.fetch(handbook.DATA)
    handbook.run(found, generator="rules")


FACTS = "subject,relation,object\n" + "".join(f"{a},{b},{c}\n" for a, b, c in graphs.facts_of(12))


@given(altered(FACTS))
def graph_(text: str) -> None:
    shutil.rmtree("graph", ignore_errors=True)
    data = graphs.settings(Path("graph"), [])
    written(Path("graph/facts.csv"), text)
    graph.questions(data, 1)


ANSWERS = (
    "1. Name three animals.\n2. Write a poem.\n3. Decide whether it rains.",
    "Input: 3, 4\nOutput: 7\n\nInput: 5\nOutput: 5",
    "Class label: yes\nInput: a long text",
    "relevance: 2\naccuracy: 3\nfluency: 5",
    "Both are good.\nVerdict: A",
    "What is the fee?\n$10",
)


@given(altered(*ANSWERS), st.booleans())
def teacher(text: str, stopped: bool) -> None:
    text = text.encode("utf-8", "replace").decode().strip()  # as the backends do
    call = Call(
        messages=(Message(role="user", content="q"),), request="r", text=text, stopped=stopped, prompt_tokens=1, new_tokens=1
    )
    general_instruct.listed(call, 2)
    for closed in (True, False):
        for one in instances.read(call, closed):
            instances.turns(one.output)
    judge._verdict(call)
    judge._marks(call)
    instructing.script([text] * 3, {"Name three animals.": text})
    handbook.run([handbook.document(handbook.GOLD)], handbook.teacher(lambda *_: text), generator="teacher")


PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")


@given(altered(PARAMS, "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"))
def params_(text: str) -> None:
    written(Path("params.yaml"), text)
    params.check_file()


SIDE = (
    "params.yaml",
    "dvc.yaml",
    "dvc.lock",
    *(f"reports/complaints/{name}" for name in ("metrics.json", "details.json", "cost.json", "items.jsonl")),
)
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in SIDE}


def shorten() -> None:
    """Leave 25 rows and 100 resamples, so that a comparison takes a fraction of a second."""
    name = SIDE[-1]
    before, after = TEXTS[name], "".join(TEXTS[name].splitlines(keepends=True)[:25])
    TEXTS[name] = after
    hashes = [md5(text.encode(), usedforsecurity=False).hexdigest() for text in (before, after)]
    TEXTS["dvc.lock"] = TEXTS["dvc.lock"].replace(*hashes)
    for path in ("params.yaml", "dvc.lock"):
        TEXTS[path] = TEXTS[path].replace("resamples: 10000", "resamples: 100")


shorten()


NESTED = "[" * 3000 + "]" * 3000
VALUES = ("5", '"x"', "[]", "{}", "null", "1" + "0" * 400, "1e999", "-1", "[1]", '{"a": 1}', '"\\ud800"', "true", NESTED)


@cache
def as_json(text: str) -> str:
    return text if text.startswith("{") else json.dumps(YAML(typ="safe", pure=True).load(text))


@st.composite
def mistyped(draw: Any, text: str) -> str:
    """Return a document as JSON, which is YAML too, with up to three values of another type."""
    content = json.loads(as_json(text))
    marks = [f"<{number}>" for number in range(draw(st.integers(1, 3)))]
    for mark in marks:
        holder: Any = content
        while True:
            key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
            if not isinstance(holder[key], dict | list) or not holder[key] or draw(st.integers(0, 3)) == 0:
                break
            holder = holder[key]
        holder[key] = mark
    written = json.dumps(content, ensure_ascii=False)
    for mark in marks:
        written = written.replace(json.dumps(mark), draw(st.sampled_from(VALUES)))
    return written


@st.composite
def sides(draw: Any) -> tuple[str, str]:
    name = draw(st.sampled_from([*SIDE, SIDE[-1], SIDE[-1]]))
    if draw(st.booleans()):
        return name, draw(altered(TEXTS[name]))
    *before, line = TEXTS[name].splitlines(keepends=True)[:3] if name.endswith(".jsonl") else [TEXTS[name]]
    rest = TEXTS[name].splitlines(keepends=True)[3:] if name.endswith(".jsonl") else []
    return name, "".join([*before, draw(mistyped(line)) + "\n", *rest])


@given(sides())
def items(side: tuple[str, str]) -> None:
    """A file of the other side differs; its hash in dvc.lock is made to fit, so that the content is read."""
    name, text = side
    for path, content in TEXTS.items():
        written(Path(path), content)
    if not Path(".git").exists():
        for arguments in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"]):
            subprocess.run(["git", *arguments], check=True)
    before, after = (
        md5(value.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest() for value in (TEXTS[name], text)
    )
    written(Path(name), text)
    if name != "dvc.lock":
        written(Path("dvc.lock"), TEXTS["dvc.lock"].replace(before, after))
    command.compare("HEAD", None, "compare.md", False)


TARGETS: dict[str, Callable[[], None]] = {
    "rows": rows, "documents": documents_, "graph": graph_, "teacher": teacher, "params": params_, "items": items,
}  # fmt: skip


def fuzz(name: str, seconds: float, seed: int) -> tuple[int, int, int, float]:
    """Return the numbers of inputs, refusals and faults, and the longest time that an input took."""
    target: Any = TARGETS[name]
    inner, rng = target.hypothesis.inner_test, random.Random(seed)
    counts, longest, seen = {"inputs": 0, "refused": 0, "faults": 0}, 0.0, set[str]()

    def run(**arguments: Any) -> None:
        nonlocal longest
        counts["inputs"] += 1
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        signal.alarm(10 * LIMIT)
        try:
            inner(**arguments)
        except DataError as error:
            counts["refused"] += 1
            assert str(error).strip(), "an empty message"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            place = traceback.extract_tb(error.__traceback__)
            own = [f"{frame.filename}:{frame.lineno}" for frame in place if "stages" in frame.filename]
            key = f"{type(error).__name__} {own[-1] if own else ''}"
            if key not in seen:
                seen.add(key)
                counts["faults"] += 1
                FOUND.mkdir(parents=True, exist_ok=True)
                written(FOUND / f"{name}-{len(seen)}.txt", json.dumps(arguments))
                print(f"{name}: {key}: {str(error)[:200]!r}", file=sys.stderr, flush=True)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            longest = max(longest, time.process_time() - started)

    target.hypothesis.inner_test = run
    once = settings(phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck))(target)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        once.hypothesis.fuzz_one_input(rng.randbytes(2000))
    return counts["inputs"], counts["refused"], counts["faults"], longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], default=[])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    def too_long(*_: Any) -> None:
        raise TooLong(f"more than {LIMIT} s")

    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, too_long)
    logging.disable(logging.CRITICAL)
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in options.targets or TARGETS:
            with Path(os.devnull).open("w") as silent:
                stdout, sys.stdout = sys.stdout, silent
                inputs, refused, bad, longest = fuzz(name, options.seconds, options.seed)
                sys.stdout = stdout
            print(f"{name}: {inputs} inputs, {refused} refused, {bad} kinds of fault, longest {longest:.2f} s", flush=True)
            faults += bad
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

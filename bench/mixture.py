"""Write the rows of the study "mixtures": python bench/mixture.py

Run `make repro` first. Reads the default task's rows in data/formatted/ and writes three tasks on the same complaints below
data/own/complaint_tasks/, each with the default's splits. `records` is the JSON object, as in the default. `channels` is one of
letter, email, form, call note, ticket and chat; rows of a layout `line-…` have none and are left out. `requests` is what the
customer asks for, word for word. They are read by conf/data/complaint_tasks.yaml, and `python bench/arms.py mixtures` runs the
study.
"""

import json
import re
from itertools import islice
from pathlib import Path

from stages import files, records

SPLITS = ("train", "valid", "test")
MOST = {"valid": 132}  # rows, as in other studies
TARGET = Path("data/own/complaint_tasks")
CHANNEL = re.compile(r"(?:valid-|test-)?([a-z_-]+?)-\d+")  # of a layout's name, such as test-call_note-03


def main() -> None:
    for split in SPLITS:
        examples = records.read(Path("data/formatted") / f"{split}.jsonl", records.Example)
        found = (row(example) for example in examples)
        rows = list(islice((each for each in found if each["channel"] != "line"), MOST.get(split)))
        for task, column in (("records", "record"), ("channels", "channel"), ("requests", "request")):
            kept = [{name: each[name] for name in ("text", column, "layout")} for each in rows]
            lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in kept)
            files.write_text(TARGET / task / f"{split}.jsonl", lines)


def row(example: records.Example) -> dict[str, str]:
    found = CHANNEL.fullmatch(example.source)
    assert found, f"{example.source}: not the name of a layout"
    return {
        "text": example.prompt[-1].content,
        "layout": example.source,
        "record": example.reference,
        "request": json.loads(example.reference)["question"],
        "channel": re.sub(r"[-_]", " ", found[1]),
    }


if __name__ == "__main__":
    main()

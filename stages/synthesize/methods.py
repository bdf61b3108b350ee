"""The methods by name, and the records that fetch prepared for them."""

from collections.abc import Callable
from pathlib import Path

from stages import records
from stages.params import Data
from stages.records import Document, Fact, Task
from stages.synthesize import self_instruct, self_kg, self_qa
from stages.synthesize.made import Inputs, Made

RAW = Path("data/raw")
METHODS: dict[str, Callable[..., Made]] = {"self_instruct": self_instruct.run, "self_kg": self_kg.run, "self_qa": self_qa.run}


def read_inputs(data: Data) -> Inputs:
    return Inputs(
        seeds=list(records.read(RAW / "seeds.jsonl", Document)),
        pool=list(records.read(RAW / "pool.jsonl", Task)),
        documents=list(records.read(RAW / "documents.jsonl", Document)),
        facts=list(records.read(RAW / "facts.jsonl", Fact)),
        data=data,
    )

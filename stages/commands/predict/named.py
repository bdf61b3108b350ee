"""The systems that a user names, and what their answers are kept to: the same for every command that answers.

`tunetrail predict` and `tunetrail chat` read the options `--system` and `--constrain` here.
"""

from pathlib import Path
from typing import Any

from stages.errors import DataError
from stages.files import read_json
from stages.models import stored
from stages.params import ComplaintsData, Data, Params, RowsData
from stages.records import Message
from stages.systems import ALIGNED, ANSWERING, TUNED, is_aligned, is_tuned
from stages.text.prompts import SHOTS, shots_of

SCHEMAS = Path("data/formatted/schemas.json")
NAMED = "tuned, aligned, tuned_<seed>, aligned_<seed> or base_<k>shot"
ALIGNING = "`dvc exp run -S preference=verifier -S align=dpo`"


def of_object(data: Data) -> bool:
    """Return whether answers should be JSON objects."""
    return isinstance(data, ComplaintsData) or (isinstance(data, RowsData) and data.task == "extraction")


def constrained(constrain: str | None, p: Params, think: bool) -> str:
    """Return what answers are kept to: none, json or copied."""
    if constrain not in (None, "none") and not of_object(p.data):
        raise DataError(f"--constrain {constrain}: the answers of this task are not JSON objects; leave it out")
    if constrain not in (None, "none") and think:
        raise DataError(f"--constrain {constrain}: thoughts are not JSON; leave out --think or --constrain")
    if think or not of_object(p.data):
        return "none"
    chosen = constrain or ("copied" if p.predict.constrain == "copied" else "json")
    if chosen == "copied" and "properties" not in schema():
        raise DataError(f"--constrain copied: {SCHEMAS} has no schema; run `dvc repro format` first, or use --constrain json")
    return chosen


def schema() -> dict[str, Any]:
    """Return the schema of the answers in the training rows; of any object if `format` has not run here."""
    schemas = read_json(SCHEMAS) if SCHEMAS.is_file() else {}
    return dict(next(iter(schemas.values()), {"type": "object"}))


def shots(system: str) -> list[Message]:
    """Return the examples that precede a base system's prompts; its name holds their number."""
    count = int(system[len("base_") : -len("shot")])
    if count and not SHOTS.is_file():
        raise DataError(f"--system {system}: {SHOTS}: no such file; run `dvc repro format` first")
    turns = shots_of(system)
    if (kept := sum(turn.role == "assistant" for turn in turns)) < count:
        raise DataError(f"--system {system}: {SHOTS} holds {kept} examples; raise format.shots and run `dvc repro`")
    return turns


def meant(system: str, p: Params) -> str:
    """Return the system that a name stands for: `tuned` and `aligned` are answered by the first seed's model."""
    return f"{system}_{p.seeds[0]}" if system in (TUNED, ALIGNED) else system


def adapter_of(system: str, p: Params) -> Path | None:
    """Return the adapter folder of a tuned or aligned system, None for a base system."""
    if system.startswith("base_") and system.endswith("shot") and system[5:-4].isdecimal():
        return None
    if not (is_tuned(system) or is_aligned(system)):
        raise DataError(f"--system {system}: unknown; use {NAMED}, e.g. base_0shot")
    if is_aligned(system) and p.align.method not in ANSWERING:
        raise DataError(
            f"--system {system}: align.method = {p.align.method} makes no model that answers; align one with {ALIGNING}"
        )
    adapter = stored.adapter_of(system)
    if not adapter.is_dir():
        raise DataError(f"--system {system}: {adapter} does not exist; train it with `dvc repro` or fetch it with `dvc pull`")
    return adapter

"""Read the sections of params.yaml and check them, reporting every mistake at once."""

import difflib
import re
import warnings
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from stages import locks
from stages.errors import DataError, shown
from stages.files import read_yaml
from stages.params.base import unescaped
from stages.params.engine import DERIVED
from stages.params.results import Runtime
from stages.params.synthesis import Connection
from stages.params.whole import Params

PARAMS = Path("params.yaml")
RESTORE = f"`git checkout {PARAMS}` restores the committed one, `tunetrail compose experiment=<name>` writes it again"
SIGNS, DEEPEST = re.compile(rb"[\[\]{}]"), 100  # of lists and objects on one line, and how many may be in each other
KINDS = ("kind", "source", "type", "method", "form")  # the keys that choose one of several shapes of a section
# Keys that users look for and that exist on purpose nowhere, with the reason.
NEVER = {"align.packing": "no such option: alignment compares whole answers, so no rows are packed; leave it out"}
MOST_BYTES = 100_000  # of params.yaml, which has some 10,000; the YAML reader takes up to 2 seconds for this many
# user:password@host without more text; scheme://user@, scheme://user:password@ (a slash may be in the password; after a
# port it is the path), ?key=, #key=
PASSWORD = re.compile(
    r"(?i)^(?!mailto:)[^\s/@:]{1,500}:[^\s/@\\]{1,500}@[^\s@]+$|\w://(?:[^\s/@]{1,500}@|[^\s/@:]{1,500}:(?!\d*(?:/|$))[^\s@]{0,500}@"
    r"|\S{0,500}[?#;&](?:[\w-]{0,50}(?:key|token|secret|passw(?:or)?d|pwd|signature|sig|auth(?:orization)?)|code)=)"
)
REFUSED_ADDRESS = "holds an address with a user, a password or a key, which git would keep; leave them out"
S = TypeVar("S", bound=BaseModel)


def check(values: Any) -> Params:
    """Return the checked parameters; raise DataError with one line per mistake: key, value, what is expected."""
    unset = {key: f"{key} = ???: must be set" for key, value in flatten(values) if value == "???"}
    unset |= {key: f"{key}: {REFUSED_ADDRESS}" for key, value in flatten(values) if _holds_password(key, value)}
    try:
        parsed = Params.model_validate(values)
    except ValidationError as error:
        mistakes = [line for item in error.errors() for line in _explain(dict(item), values)]
        others = [line for line in mistakes if re.split(" = |: ", line, maxsplit=1)[0] not in unset]
        lines = [*unset.values(), *others]
        raise DataError("\n".join([line for line in lines if not line.startswith(DERIVED)] or lines)) from None
    if unset:
        raise DataError("\n".join(unset.values()))
    return parsed


def _holds_password(key: str, value: Any) -> bool:
    """Return whether a text, or one in a list, holds an address with a password; that of a server is checked elsewhere."""
    if isinstance(value, list):
        return any(_holds_password(f"{key}.{inner}", text) for part in value for inner, text in flatten(part))
    if key in ("teacher.base_url", "engine.server.base_url") or not isinstance(value, str):
        return False
    return bool(PASSWORD.search(unescaped(value)) or PASSWORD.search(unescaped(key)))


def load(path: Path = PARAMS) -> dict[str, Any]:
    """Return params.yaml as plain values."""
    try:
        return parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run from the repository's root") from None


def parse(content: bytes, where: str, most: int = MOST_BYTES) -> dict[str, Any]:
    """Return a mapping read as YAML 1.2, as DVC does (1e-3 is a number); a DataError names file and line."""
    if len(content) > most:
        raise DataError(f"{where}: has {len(content):,} bytes, more than the {most:,} that are read; write less")
    if max(accumulate(SIGNS.findall(content), _level, initial=0)) > DEEPEST:  # the YAML reader takes seconds to give up
        raise DataError(f"{where}: nested too deeply, more than {DEEPEST} lists or objects in each other; write fewer levels")
    values = read_yaml(content, where)
    if not isinstance(values, dict):
        raise DataError(f"{where}: must hold sections such as `seed: 42` or `lora:`")
    return values


def _level(level: int, sign: bytes) -> int:
    return level + 1 if sign in b"[{" else max(0, level - 1)


def read(*sections: str) -> Params:
    """Return the parameters with only the named sections, which dvc.yaml lists for the stage.

    `read("seed", "synthesis.self_instruct")` has `.seed` and `.synthesis.self_instruct`; any other attribute raises
    AttributeError.
    """
    return _only(check_file(), [section.split(".") for section in sections])


def runtime() -> Runtime:
    """Return device, threads and micro-batch size; stages read them, but dvc.yaml lists them for none."""
    return check_file().runtime


def server() -> Connection:
    """Return how the engine's server is reached; it decides no answer, so dvc.yaml lists it for no stage."""
    engine = check_file().engine
    if engine.kind != "openai":
        raise DataError(f"engine.kind = {engine.kind}: no server answers; set engine=openai")
    return engine.server


def check_file() -> Params:
    """Return all parameters, checked; each mistake is a line that begins with the file's name.

    Refuse to read params.yaml while another process runs `make experiment` here: it holds that experiment's values.
    """
    locks.refuse_experiment()
    values = load()
    try:
        return check(values)
    except DataError as error:
        cut = [f"{lacking}; {RESTORE}"] if (lacking := lacks(values)) else []
        raise DataError("\n".join(f"{PARAMS}: {line}" for line in [*cut, *str(error).splitlines()])) from None


def lacks(values: dict[str, Any]) -> str:
    """Return that sections are missing, as in a file that a kill or a full disk cut; "" if all are there."""
    names = [field.alias or name for name, field in Params.model_fields.items()]
    lost = [name for name in names if name not in values]
    listed = ", ".join(lost[:3] + ["…"] * bool(lost[3:]))
    return f"lacks {len(lost)} of {len(names)} sections ({listed}); it may have been cut short" if lost else ""


def _only(section: S, paths: Sequence[Sequence[str]]) -> S:
    """Return a section with only the fields on these paths."""
    values = {}
    for first in dict.fromkeys(path[0] for path in paths):
        rest = [path[1:] for path in paths if path[0] == first]
        value = getattr(section, first)
        values[first] = value if [] in rest else _only(value, rest)
    return section.model_construct(**values)


def flatten(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested mappings as (dotted key, value) pairs."""
    if not isinstance(values, dict):
        return [(prefix, values)]
    return [pair for key, value in values.items() for pair in flatten(value, f"{prefix}.{key}" if prefix else str(key))]


def _explain(error: dict[str, Any], values: Any) -> list[str]:
    """Return a pydantic error as lines of key, value, expectation and, for an unknown key, the nearest known one."""
    loc = _without_union_tags(error["loc"], values, is_missing=error["type"] == "missing")
    if error["type"].startswith("union_tag"):  # pydantic shows the whole section if its discriminator is wrong
        loc = (*loc, error["ctx"]["discriminator"].strip("'"))
        expected = error["ctx"].get("expected_tags", "")
        error = {**error, "input": error["input"].get(loc[-1]), "ctx": {"expected": expected}}
        error |= {"msg": f"input should be one of {expected}"} if expected else {"type": "missing"}
    key = ".".join(map(str, loc))
    if error["type"] == "extra_forbidden" and key in NEVER:
        return [f"{key}: {NEVER[key]}"]
    if error["type"] == "extra_forbidden":
        if owners := _owners(loc, values):
            return [f"{key} = {shown(key, error['input'])}: {owners}"]
        close = difflib.get_close_matches(str(loc[-1]), _known_keys(loc[:-1], values), n=1, cutoff=0.4)
        return [f"{key} = {shown(key, error['input'])}: unknown key" + (f"; did you mean {close[0]}?" if close else "")]
    if error["type"] == "missing":
        return [f"{key}: missing"]
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return [f"{key}: {line}" if key else line for line in message.splitlines()]
    hint = ""
    if error["type"] == "string_type" and isinstance(error["input"], bool):
        hint = "; YAML reads an unquoted yes, no, on, off, true or false as a truth value: quote it"
    elif error["type"] == "list_type" and not isinstance(error["input"], dict):
        hint = f"; write [{shown(key, error['input'])}]"
    if isinstance(error["input"], str) and "expected" in error.get("ctx", {}):
        allowed = [word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        close = difflib.get_close_matches(error["input"], allowed, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
    return [f"{key} = {shown(key, error['input'])}: {message[0].lower()}{message[1:]}{hint}"]


def _without_union_tags(loc: tuple[Any, ...], values: Any, is_missing: bool) -> tuple[Any, ...]:
    """Return a path without pydantic's union members: model.wheel.file becomes model.file, the key in params.yaml.

    Only the path of a missing key ends with a name that neither the values nor the members have.
    """
    kept: list[Any] = []
    is_tag = False
    for position, part in enumerate(loc):
        # A section can have a key with the name of its kind, as `mix` has: the tag comes first.
        is_tag = not is_tag and isinstance(values, dict) and part in [values.get(name) for name in KINDS]
        inside = (isinstance(values, dict) and part in values) or (isinstance(values, list) and isinstance(part, int))
        if inside and not is_tag:
            values = values[part]
        elif is_tag or position < len(loc) - 1 or not is_missing:
            continue
        kept.append(part)
    return tuple(kept)


def _owners(loc: tuple[Any, ...], values: Any) -> str:
    """Return which kind of a section has a key that the chosen kind lacks, "" if none has it."""
    *place, name = loc
    _, field, section = _place(tuple(place), values)
    if not field or not isinstance(kind := field.discriminator, str):
        return ""
    members = [member.model_fields for member in _members(field)]
    owners = [owner for fields in members if name in fields for owner in get_args(fields[kind].annotation)]
    chosen = ".".join(map(str, (*place, kind)))
    remedy = "choose that one, or leave the key out where conf/ or the command sets it"
    return f"belongs to {chosen} = {' or '.join(owners)}, not to {section[kind]}; {remedy}" if owners else ""


def _known_keys(loc: tuple[Any, ...], values: Any) -> list[str]:
    return [field.alias or name for name, field in _place(loc, values)[0].model_fields.items()]


def _place(loc: tuple[Any, ...], values: Any) -> tuple[type[BaseModel], FieldInfo | None, Any]:
    """Return the section at a path, the field that holds it, and its values."""
    section: type[BaseModel] = Params
    field = None
    for part in loc:
        values = values[part]
        if part in section.model_fields:
            field = section.model_fields[part]
            section = _section_of(field, values)
    return section, field, values


def _section_of(field: FieldInfo, values: Any) -> type[BaseModel]:
    """Return the section behind a field or a list; for a discriminated union, the member that the values select."""
    if get_origin(field.annotation) is list:
        return get_args(field.annotation)[0]
    if get_origin(field.annotation) not in (Union, UnionType):
        return field.annotation  # type: ignore[return-value]
    members = _members(field)
    key = field.discriminator if isinstance(field.discriminator, str) else ""
    chosen = [m for m in members if key and values.get(key) in get_args(m.model_fields[key].annotation)]
    return (chosen or members)[0]


def _members(field: FieldInfo) -> list[type[BaseModel]]:
    """Return the sections of a union."""
    bare = [getattr(member, "__origin__", member) for member in get_args(field.annotation)]  # without Annotated
    return [member for member in bare if isinstance(member, type) and issubclass(member, BaseModel)]


# `schema` is a key of params.yaml; pydantic warns that BaseModel has a deprecated method of that name.
warnings.filterwarnings("ignore", message='Field name "schema"')

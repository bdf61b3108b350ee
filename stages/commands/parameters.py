"""The reference pages of params.yaml: types from the schema, meanings from the comments in conf/, stages from dvc.yaml.

A comment is at the end of a key's line or on the lines above it. A key without one takes the comment of the same field of
the same schema class, so that a section that occurs twice, such as `sampling`, is described once.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from stages import files, params
from stages.errors import DataError
from stages.params import compose

CONF, FOLDER = compose.ROOT / "conf", compose.ROOT / "docs" / "reference" / "parameters"
PAGES = {
    "run": ("The run and the machine", ("schema", "name", "seed", "seeds", "runtime")),
    "model": ("The base model", ("model",)),
    "data": ("Data", ("data",)),
    "feedback": ("Feedback of users", ("feedback",)),
    "synthesis": ("Synthetic data", ("teacher", "synthesis")),
    "training": ("Training", ("format", "replay", "quantization", "adapter", "lora", "train")),
    "pretraining": ("Training on documents", ("pretrain",)),
    "alignment": ("Preferences and alignment", ("preference", "align")),
    "results": ("Answers, scores and the report", ("engine", "predict", "retention", "evaluate", "report")),
}
TAGS = ("source", "kind", "type", "form", "method")  # keys that choose a class of the schema
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "name (letters, digits, `_`, `.`, `-`)",
    r"^[0-9a-f]{64}$": "SHA-256",
    r"^[A-Za-z0-9_.-]+==[A-Za-z0-9_.+-]+$": "`package==version`",
    r"^[\w.-]+/[\w.-]+$": "`owner/name`",
    r"^[\w.-]+(@[\w.-]+)?$": "`metric` or `metric@slice`",
}


@dataclass
class Parameter:
    """A key of params.yaml: a field of the schema class `section`, with its value in the file `home`."""

    key: str
    section: type[BaseModel]
    type: str
    value: Any
    home: str
    meaning: str = ""
    stages: str = ""

    @property
    def default(self) -> str:
        if isinstance(self.value, dict) or self.value == "???":
            return "must be set" if self.value == "???" else ""
        text = self.value if isinstance(self.value, str) and self.value else json.dumps(self.value, ensure_ascii=False)
        return f"`{text[:60]}{'…' * (len(text) > 60)}`"


def write(check: bool) -> None:
    """Write the pages; with `check`, raise DataError where one is out of date instead."""
    for path, text in pages(described()).items():
        if not check:
            files.write_text(path, text)
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise DataError(f"{path.relative_to(compose.ROOT)}: out of date; run `tunetrail parameters`")


def pages(rows: list[Parameter]) -> dict[Path, str]:
    """Return the text of every page by its path; DataError names the keys that no comment describes."""
    from jinja2 import Environment, FileSystemLoader

    if missing := [row.key for row in rows if not row.meaning and not (isinstance(row.value, dict) and row.value)]:
        raise DataError("\n".join(f"{key}: no comment in conf/ describes it; write one next to it" for key in missing))
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, keep_trailing_newline=True)
    environment.filters["cell"] = lambda text: text.replace("|", r"\|")
    template, general, made = environment.get_template("parameters.md.jinja"), comments(CONF / "config.yaml"), {}
    for page, (title, names) in PAGES.items():
        shown, sections = [row for name in names for row in rows if row.key.split(".")[0] == name and row.meaning], []
        for name, group in groupby(shown, lambda row: row.key.partition(".")[0] if "." in row.key else ""):
            tables = {home: list(part) for home, part in groupby(group, lambda row: row.home)}
            intro = _sentence(general.get(f"defaults.{name}") or general[name])
            choices = {path.stem: comments(path)[""] for path in sorted((CONF / name).glob("*.yaml"))}
            sections.append({"name": name, "intro": intro, "choices": choices, "tables": tables})
        made[FOLDER / f"{page}.md"] = template.render(title=title, sections=sections, chosen=_chosen())
    return made


def described() -> list[Parameter]:
    """Return the keys of the default composition, then those that other choices of conf/ add."""
    choices = {path: params.load(path) for path in sorted(CONF.glob("*/**/*.yaml")) if path.parent.name != "experiment"}
    chosen = _chosen()
    order = sorted(choices, key=lambda path: ((path.parent.name, path.stem) not in chosen, "defaults" in choices[path]))
    rows, meanings, readers = dict[Any, Parameter](), dict[Any, str](), _readers()
    for path in [CONF / "config.yaml", *order]:
        prefix = [path.stem if part == "options" else part for part in path.relative_to(CONF).parts[:-1]]
        values = choices[path] if prefix else compose.composed()
        for part in reversed(prefix):
            values = {part: values}
        texts = {".".join([*prefix, key]): text for key, text in comments(path).items()}
        for row in _rows(params.Params, values, path.relative_to(compose.ROOT).as_posix()):
            rows.setdefault((row.section, row.key), row)
            if text := texts.get(row.key.replace("[]", "")):
                meanings.setdefault((row.section, row.key.rpartition(".")[2]), text)
    for (section, key), row in rows.items():
        row.meaning = _sentence(meanings.get((section, key.rpartition(".")[2]), ""))
        row.stages = ", ".join(stage for stage, pattern in readers.items() if re.match(pattern, key))
    return [row for row in rows.values() if "." in row.key or not isinstance(row.value, dict)]


def _chosen() -> set[tuple[str, str]]:
    entries = params.load(CONF / "config.yaml")["defaults"]
    return {pair for entry in entries if isinstance(entry, dict) for pair in entry.items()}


def comments(path: Path) -> dict[str, str]:
    """Return the comments of a YAML file by dotted key; under "" the first sentence of its header."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    header = " ".join(line[2:] for line in lines[:start] if not line.startswith("#  "))
    found, above, parents = {"": re.split(r"(?<=\.) (?=[A-Z])", header)[0]}, list[str](), list[tuple[int, str]]()
    for line in lines[start:]:
        if key := re.match(r"([ -]*)(\w+):(?:\s|$)", line):
            parents = [*(outer for outer in parents if outer[0] < len(key[1])), (len(key[1]), key[2])]
            if text := " ".join([*above, *re.findall(r"\s# +(.+)", line)]):
                found[".".join(name for _, name in parents)] = text
        above = [*above, line.strip()[2:]] if line.lstrip().startswith("# ") else []
    return found


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""


def _rows(section: type[BaseModel], values: dict[str, Any], home: str, prefix: str = "") -> Iterator[Parameter]:
    for name, field in section.model_fields.items():
        if (field.alias or name) in values:
            key, value = prefix + (field.alias or name), values[field.alias or name]
            yield Parameter(key, section, _type(field.annotation, *field.metadata), value, home)
            inner = value[0] if isinstance(value, list) and value else value
            if isinstance(inner, dict):
                for member in [model for model in models(field.annotation) if _fits(model, inner)][:1]:  # none fits names
                    yield from _rows(member, inner, home, f"{key}{'[]' * isinstance(value, list)}.")


def models(annotation: Any) -> list[type[BaseModel]]:
    """Return the schema's classes in an annotation, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models(part)]


def _fits(model: type[BaseModel], values: dict[str, Any]) -> bool:
    """Return whether values, all or some of a section's, are those of this member of a union."""
    fields = model.model_fields
    tagged = all(values[tag] in get_args(fields[tag].annotation) for tag in TAGS if tag in values and tag in fields)
    return tagged and values.keys() <= {"defaults", *fields}


def _type(annotation: Any, *constraints: Any) -> str:
    """Return an annotation in words."""
    if hasattr(annotation, "__metadata__"):  # Annotated
        inner = [part for item in annotation.__metadata__ for part in getattr(item, "metadata", [item])]
        return _type(get_args(annotation)[0], *constraints, *inner)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is list:
        return f"list of {_type(*get_args(annotation))}"
    if get_origin(annotation) is dict:
        return " by ".join(_type(part) for part in reversed(get_args(annotation)))
    if models(annotation):
        others = [_type(part) for part in get_args(annotation) if not models(part)]
        return " or ".join(["section", *others])
    if get_args(annotation):
        return " or ".join(_type(part) for part in get_args(annotation))
    if pattern := next((found for item in constraints if (found := getattr(item, "pattern", None))), None):
        return PATTERNS.get(pattern, f"text like `{pattern}`")
    bounds = [f"{word} {getattr(item, end)}" for item in constraints for end, word in BOUNDS.items() if hasattr(item, end)]
    name = {bool: "true or false", int: "integer", float: "number", type(None): "null"}.get(annotation, "text")
    return f"{name} ({', '.join(bounds)})" if bounds else name


def _readers() -> dict[str, str]:
    """Return for each stage of dvc.yaml a regular expression of the keys that it depends on."""
    found = {}
    for name, stage in params.load(compose.ROOT / "dvc.yaml")["stages"].items():
        keys = [*stage.get("params", []), *re.findall(r"\$\{((?!item)[\w.]+)\}", json.dumps(stage))]
        found[name] = "|".join(re.sub(r"\$\{[^}]+\}", r"\\w+", key) + r"(?!\w)" for key in keys) or "(?!)"
    return found

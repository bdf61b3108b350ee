"""Small git repositories that look like this one after a run: params.yaml, dvc.lock, a report and perhaps a cache."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages import cli

ROWS, CLUSTERS = 120, 24
PARAMS = {
    "name": "letters",
    "seed": 42,
    "seeds": [42],
    "model": {"name": "tiny"},
    "lora": {"r": 4, "alpha": 32},
    "train": {"learning_rate": 0.001},
    "runtime": {"threads": 2},
    "report": {"headline": "exact", "resamples": 500, "margin": 0.05},
}


def md5(content: str) -> dict[str, Any]:
    return {"hash": "md5", "md5": hashlib.md5(content.encode()).hexdigest(), "size": len(content.encode())}


def jsonl(rows: Sequence[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def right(count: int, shift: int = 0) -> list[float]:
    """Return `count` right rows spread over the clusters; a larger count contains a smaller one, another shift does not."""
    return [float((row * 37 + shift) % ROWS < count) for row in range(ROWS)]


class Repository:
    """`run` writes what one pipeline run leaves in git; `cache` also fills DVC's cache."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "--quiet", "--initial-branch=main", "--template=")
        for file, text in {
            ".gitignore": ".dvc/cache/\n",
            "dvc.yaml": "stages:\n  train:\n    matrix:\n      seed: ${seeds}\n    cmd: run ${item.seed}\n",
            "data/authored/bodies.txt": "one\ntwo\n",
            "stages/train/trainer.py": "steps = 1\n",
            "stages/synthesize/question.jinja": "Ask.\n",
        }.items():
            self.write(file, text)

    def git(self, *arguments: str) -> str:
        own = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *own, *arguments], cwd=self.root, check=True, capture_output=True, text=True).stdout

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def read(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def commit(self, message: str = "run") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD").strip()

    def run(
        self,
        count: int,
        changed: dict[str, Any] | None = None,
        shift: int = 0,
        questions: str = "question",
        train: Sequence[str] = ("a", "b"),
        untuned: int = 10,
        versions: dict[str, str] | None = None,
        adapter: str = "",
        metrics: dict[str, Any] | None = None,
        details: dict[str, Any] | None = None,
        memory: dict[str, float] | None = None,
        device: str = "a CPU",
        cache: bool = False,
        text: str = "<b>Who?</b>\n\n# Really? {}",
        passage: int | None = None,
        aligned: int | None = None,
        engine: dict[str, str] | None = None,
        general: Sequence[dict] | None = None,
        asked: str = "general items",
    ) -> None:
        """Write a run whose tuned models have `count` of the rows right that `questions` names; `changed` are parameters.

        With a passage in the prompt, they have `passage` of the rows right; after alignment, `aligned` of them. `general` are
        the lines of retention.jsonl, None as in older reports, and `asked` stands for the items themselves.
        """
        exact = right(count, shift)
        values = json.loads(json.dumps(PARAMS))
        for key, value in (changed or {}).items():
            section, _, name = key.rpartition(".")
            (values[section] if section else values)[name] = value
        systems = {"base_0shot": right(untuned), **{f"tuned_{seed}": exact for seed in values["seeds"]}}
        systems |= {f"tuned_{seed}_passage": right(passage) for seed in values["seeds"] if passage is not None}
        systems |= {f"aligned_{seed}": right(aligned) for seed in values["seeds"] if aligned is not None}
        ids = [f"ex-{questions}-{row:03}" for row in range(len(exact))]
        items = jsonl(
            [
                {
                    "id": id,
                    "source": f"layout-{row % CLUSTERS:02}",
                    "slices": ["clean"],
                    "metrics": ["exact", "stop_rate"],
                    "scores": {system: [scores[row], 1.0] for system, scores in systems.items()},
                }
                for row, id in enumerate(ids)
            ]
        )
        turns = [("user", text), ("assistant", "Anna {}")]
        files = {
            "data/formatted/train.jsonl": jsonl([{"id": f"ex-{name}"} for name in train]),
            "data/formatted/test.jsonl": jsonl(
                [{"id": id, "messages": [{"role": r, "content": t.format(id)} for r, t in turns]} for id in ids]
            ),
            "data/formatted/general.jsonl": jsonl([{"id": asked}]),
            **{
                f"data/predictions/{system}.jsonl": jsonl(
                    [{"example": id, "text": "right" if score else "wrong"} for id, score in zip(ids, scores, strict=True)]
                )
                for system, scores in systems.items()
            },
        }
        folder = f"reports/{values['name']}"
        machine = {"device_name": device, "versions": versions or {"torch": "2.0"}}
        predictions = {system: md5(files[f"data/predictions/{system}.jsonl"])["md5"] for system in systems}
        cost = {"machine": machine, "train_42": {"seconds": 9.0 + len(train), **(memory or {})}, "predictions_md5": predictions}
        cost |= {"engine": engine} if engine else {}

        report = {
            f"{folder}/items.jsonl": items,
            f"{folder}/metrics.json": json.dumps({"split": "test", **(metrics or {})}),
            f"{folder}/details.json": json.dumps(details or {}),
            f"{folder}/cost.json": json.dumps(cost),
        }
        (self.root / folder / "retention.jsonl").unlink(missing_ok=True)
        report |= {} if general is None else {f"{folder}/retention.jsonl": jsonl(general)}

        def stage(deps: list[str], outs: list[str], keys: list[str]) -> dict[str, Any]:
            known = {**files, "adapter": adapter + json.dumps(values["lora"])}
            known |= {"data/scores.jsonl": items, **report}
            sources = {path: "".join(self.read(str(f.relative_to(self.root))) for f in self.files(path)) for path in deps}
            return {
                "cmd": "run",
                "deps": [{"path": path, **md5(known.get(path) or sources[path])} for path in deps],
                "params": {"params.yaml": {key: values[key] for key in keys}},
                "outs": [{"path": path, **md5(known[path])} for path in outs],
            }

        formatted = [path for path in files if path.startswith("data/formatted")]
        answers = [path for path in files if path.startswith("data/predictions")]
        lock = {
            "format": stage(["data/authored", "stages/synthesize"], formatted, ["seed", "model"]),
            "train@42": stage(["data/formatted/train.jsonl", "stages/train"], ["adapter"], ["lora", "train"]),
            "predict@42": stage(["data/formatted/test.jsonl", "adapter"], answers, []),
            "evaluate": stage(answers, ["data/scores.jsonl"], ["seeds"]),
            "report": stage(["data/scores.jsonl"], list(report), ["name", "report"]),
        }
        yaml = YAML()
        for path, value in (("params.yaml", values), ("dvc.lock", {"schema": "2.0", "stages": lock})):
            with (self.root / path).open("w", encoding="utf-8") as file:
                yaml.dump(value, file)
        for path, text in report.items():
            self.write(path, text)
        for content in files.values() if cache else ():
            key = md5(content)["md5"]
            self.write(f".dvc/cache/files/md5/{key[:2]}/{key[2:]}", content)

    def files(self, path: str) -> list[Path]:
        return [file for file in sorted((self.root / path).rglob("*")) if file.is_file()]

    def clone(self, root: Path, *options: str) -> "Repository":
        self.git("clone", "--quiet", *options, f"file://{self.root}", str(root))
        made = object.__new__(Repository)
        made.root = root
        return made


@pytest.fixture
def repository(tmp_path) -> Repository:
    return Repository(tmp_path / "repository")


Compare = Callable[..., str]


@pytest.fixture
def compare(monkeypatch, capsys) -> Compare:
    """Run `tunetrail compare` in a repository and return what it prints."""

    def run(repository: Repository, *arguments: str) -> str:
        monkeypatch.chdir(repository.root)
        monkeypatch.setattr(sys, "argv", ["tunetrail", "compare", *arguments])
        cli.main()
        return capsys.readouterr().out.replace("\u202f", " ").replace("\u2212", "-")

    return run


def refusal(compare: Compare, repository: Repository, *arguments: str) -> str:
    """Return the one line with which it exits."""
    with pytest.raises(SystemExit) as ended:
        compare(repository, *arguments)
    message = str(ended.value.code)
    assert message.startswith("error: ") and len(message.splitlines()) == 1
    return message

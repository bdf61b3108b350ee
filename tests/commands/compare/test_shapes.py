"""Files of the other side that somebody else wrote: one line names side, file and key; nothing outside the cache is read."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.commands.compare import shapes
from stages.params.compose import ROOT
from tests.commands.compare.conftest import Repository, jsonl, md5, refusal

REPORT, TEST = "reports/letters", "data/formatted/test.jsonl"
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Commit a run, and write another one; return the folder and the commit."""
    repository = Repository(tmp_path_factory.mktemp("whole") / "repository")
    repository.run(60, cache=True)
    commit = repository.commit()
    repository.run(90, {"lora.r": 16}, cache=True)
    return repository.root, commit


@pytest.fixture
def base(repository: Any, whole: tuple[Path, str]) -> str:
    """Put the two runs into the repository, of which a test spoils a file; return the commit of the first."""
    folder, commit = whole
    shutil.rmtree(repository.root)
    shutil.copytree(folder, repository.root)
    return commit


def lock(repository: Any, outputs: dict[str, Any] | None = None, **changed: Any) -> None:
    """Change outputs, or keys of dvc.lock; a key of a stage is named stage__key."""
    content = YAML(typ="safe").load(repository.read("dvc.lock"))
    for key, value in changed.items():
        stage, _, name = key.rpartition("__")
        (content["stages"][stage] if stage else content)[name] = value
    for out in (out for stage in content["stages"].values() for out in stage["outs"]) if outputs else ():
        out.update(outputs.get(out["path"], {}))
    repository.write("dvc.lock", json.dumps(content))


def put(repository: Any, name: str, text: str) -> None:
    repository.write(f"{REPORT}/{name}", text)
    lock(repository, {f"{REPORT}/{name}": md5(text)})


@pytest.mark.parametrize(
    ("name", "keys", "value", "key"),
    [
        ("cost.json", ["machine"], 5, "machine"),
        ("cost.json", ["machine"], {"device_name": ["x"]}, "machine.device_name"),
        ("cost.json", ["machine"], {"versions": {"torch": {"a": 1}}}, "machine.versions.torch"),
        ("cost.json", ["predictions_md5"], [1], "predictions_md5"),
        ("cost.json", ["predictions_md5"], {"tuned_42": None}, "predictions_md5.tuned_42"),
        ("cost.json", ["serving"], {"tuned_42": "x"}, "serving.tuned_42"),
        ("cost.json", ["train_42"], {"seconds": "x"}, "train_42.seconds"),
        ("cost.json", ["train_42"], {"seconds": 1, "memory_peak_gib": []}, "train_42.memory_peak_gib"),
        ("cost.json", ["train_42"], None, "train_42"),
        ("cost.json", ["a\nb\x1b[2J"], 5, "a b\\x1b[2J"),
        ("metrics.json", ["split"], {"a": 1}, "split"),
        ("metrics.json", ["retention"], [1], "retention"),
        ("details.json", ["retention"], {"tuned": {"bits_per_byte": {}}}, "retention.tuned.bits_per_byte"),
        ("details.json", ["totals"], 5, "totals"),
        ("details.json", ["totals"], {"tuned_42": []}, "totals.tuned_42"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_named(repository, compare, base, name, keys, value, key):
    content = json.loads(repository.read(f"{REPORT}/{name}")) | {keys[0]: value}
    put(repository, name, json.dumps(content))
    assert refusal(compare, repository, "--base", base).startswith(f"error: working tree: {REPORT}/{name}: {key}")


@pytest.mark.parametrize(
    "text", ["", "[]", "5", "\ufeff{}", f'{{"a": {DEEP}}}', '{"split": "\\ud800"}', f'{{"a": {"9" * 5000}}}']
)
@pytest.mark.parametrize("name", ["cost.json", "metrics.json", "details.json"])
def test_text_that_is_no_object_is_refused(repository, compare, base, name, text):
    put(repository, name, text)
    assert refusal(compare, repository, "--base", base).startswith(f"error: working tree: {REPORT}/{name}: ")


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"stages": [1]}, "stages"),
        ({"train@42__outs": ["adapter"]}, "stages.train@42.outs.0"),
        ({"report__outs": [5]}, "stages.report.outs.0"),
        ({"format__deps": [{"path": "x"}]}, "stages.format.deps.0.md5"),
        ({"format__deps": 5}, "stages.format.deps"),
        ({"format__params": [1]}, "stages.format.params"),
        ({"format__params": {"params.yaml": 5}}, "stages.format.params.params.yaml"),
        ({"format__cmd": {}}, "stages.format.cmd"),
    ],
)
def test_a_lock_of_another_shape_is_named(repository, compare, base, changed, key):
    lock(repository, **changed)
    assert refusal(compare, repository, "--base", base).startswith(f"error: working tree: dvc.lock: {key}")


@pytest.mark.parametrize(
    ("path", "old", "new", "key"),
    [
        ("dvc.yaml", "matrix:\n      seed: ${seeds}", "matrix: text", "stages.train.matrix"),
        ("dvc.yaml", "stages:", "stages: 5\nother:", "stages"),
        ("params.yaml", "name: letters", "name: ../reports/letters", "name"),
        ("params.yaml", "name: letters", "name: [letters]", "name"),
        ("params.yaml", "seed: 42", "seed: -1", "seed"),
        ("params.yaml", "seed: 42", "seed: x", "seed"),
        ("params.yaml", "resamples: 500", "resamples: 99999999999", "report.resamples"),
        ("params.yaml", "margin: 0.05", "margin: 1e999", "report.margin"),
        ("params.yaml", "margin: 0.05", "margin: []", "report.margin"),
        ("params.yaml", "headline: exact", "headline: {}", "report.headline"),
        ("params.yaml", "r: 16", "r: 2024-01-01", "lora"),
        ("params.yaml", "r: 16", f"r: 0x{'f' * 5000}", ""),
        ("params.yaml", "r: 16", f"r: {'[' * 3000}{']' * 3000}", ""),
    ],
)
def test_parameters_of_another_shape_are_named(repository, compare, base, path, old, new, key):
    text = repository.read(path)
    assert old in text
    repository.write(path, text.replace(old, new))
    message = refusal(compare, repository, "--base", base)
    assert message.startswith(f"error: working tree: {path}") and key in message


@pytest.mark.parametrize("score", ["1e999", "-1", "2", "NaN", '"high"', "[]"])
def test_a_score_outside_its_range_is_named(repository, compare, base, score):
    put(repository, "items.jsonl", repository.read(f"{REPORT}/items.jsonl").replace("[1.0", f"[{score}", 1))
    assert "items.jsonl:1: scores." in refusal(compare, repository, "--base", base)


def secret_rows(repository: Any) -> str:
    """Return rows that fit the split, with a text that no page may show."""
    ids = [json.loads(line)["id"] for line in repository.read(f"{REPORT}/items.jsonl").splitlines()]
    return jsonl([{"id": id, "messages": [{"role": "user", "content": "SECRET"}] * 2} for id in ids])


@pytest.mark.parametrize("prefix", ["xx", "", "..", "ab/../../../../../../.."])
def test_hash_in_a_lock_cannot_name_a_path(repository, compare, base, prefix, tmp_path):
    secret = tmp_path / "secret.jsonl"
    secret.write_text(secret_rows(repository))
    lock(repository, {TEST: {"md5": f"{prefix}{secret}"}})
    assert "outs.1.md5" in refusal(compare, repository, "--base", base)


def test_a_link_in_the_cache_is_not_read(repository, compare, base, tmp_path):
    secret, name = tmp_path / "secret.jsonl", "0" * 32
    secret.write_text(secret_rows(repository))
    lock(repository, {TEST: {"md5": name}})
    (repository.root / ".dvc/cache/files/md5/00").mkdir(parents=True)
    (repository.root / ".dvc/cache/files/md5/00" / name[2:]).symlink_to(secret)
    page = compare(repository, "--base", base)
    assert "SECRET" not in page and "texts not shown" in page


@pytest.mark.parametrize("line", ["{", "5", '{"id": "a"}', '{"id": "a", "messages": [{"content": "b"}]}', '{"id": 5}', DEEP])
def test_a_cached_file_of_another_kind_is_named(repository, compare, base, line):
    text = line + "\n"
    key = hashlib.md5(text.encode()).hexdigest()
    repository.write(f".dvc/cache/files/md5/{key[:2]}/{key[2:]}", text)
    lock(repository, {TEST: md5(text)})
    assert f"working tree: {TEST}:1: " in refusal(compare, repository, "--base", base)


@pytest.mark.parametrize("name", [b"data/authored/\xff.txt", b"data/authored/a\tb.txt", b"data/authored/a\nb.txt"])
def test_any_file_name_in_git_is_listed(repository, compare, base, name):
    path = Path(str(repository.root)) / name.decode(errors="surrogateescape")
    path.write_text("x")
    repository.git("add", "--all")
    assert "Better: exact rose" in compare(repository, "--base", base)


@pytest.mark.parametrize("folder", sorted(path.parent for path in ROOT.glob("reports/*/cost.json")), ids=lambda path: path.name)
def test_kept_reports_read(folder):
    """Some are older than the present layout."""
    for name, shape in (("cost", shapes.Cost), ("metrics", shapes.Results), ("details", shapes.Results)):
        shapes.checked(shape, (folder / f"{name}.json").read_bytes(), name)
    for line in (folder / "items.jsonl").read_bytes().splitlines():
        shapes.checked(shapes.Item, line, "items")

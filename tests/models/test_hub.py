"""Base models from the hub: branches are pinned to commits, and a missing hub is one line."""

import shutil
import socket
from pathlib import Path

import pytest

from stages.models.manifest import MANIFEST, read_manifest
from stages.params import HubModel, compose
from tests.fixtures.fetching import AUTHORED, left_in, the_line

pytestmark = pytest.mark.model

FIRST, SECOND = "a" * 40, "b" * 40  # commits of the stand-in hub


@pytest.fixture
def hub(hub_of, weights):
    """acme/tiny with two commits; its branch is at the first."""
    files = {path.name: path.read_bytes() for path in weights.iterdir()}
    files |= {"pytorch_model.bin": b"a pickle", "modeling_tiny.py": b"raise SystemExit('ran remote code')"}
    return hub_of("models", "acme/tiny", {FIRST: files, SECOND: {**files, "config.json": files["config.json"] + b"\n"}})


def test_branch_is_pinned_to_its_commit(room, warm, hub, reach, manifest, tmp_path):
    root = room("model=hub", "model.repo=acme/tiny", *AUTHORED)
    run = warm(root, "-m", "stages.fetch", **reach(hub.url, tmp_path))
    assert run.returncode == 0, run.stderr
    pinned = read_manifest(root / MANIFEST)
    assert isinstance(pinned.model, HubModel)
    assert (pinned.model.repo, pinned.model.revision) == ("acme/tiny", FIRST)
    assert (pinned.files, pinned.parameters) == (manifest.files, manifest.parameters)

    hub.main = SECOND
    ensure = "from stages.models import manifest, sources; print(sources.ensure(manifest.read_manifest()))"
    hub.asked.clear()
    kept = warm(root, "-c", ensure, **reach(hub.url, tmp_path))
    assert hub.asked == []
    assert left_in(tmp_path / "cache") == [Path(kept.stdout.strip())]
    shutil.rmtree(tmp_path / "cache")
    again = warm(root, "-c", ensure, **reach(hub.url, tmp_path))
    assert again.stdout == kept.stdout, again.stderr
    assert [path for path in hub.asked if "main" in path or SECOND in path] == []
    names = {path.name for path in Path(again.stdout.strip()).rglob("*")}
    assert names == set(manifest.files)
    assert [path for path in hub.asked if path.endswith((".bin", ".py"))] == []


def test_missing_repository_is_one_line(room, warm, hub, reach, tmp_path):
    root = room("model=hub", "model.repo=acme/other", *AUTHORED)
    line = the_line(warm(root, "-m", "stages.fetch", **reach(hub.url, tmp_path)))
    assert "model.repo = acme/other at main: cannot be fetched" in line
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize(("revision", "offline"), [("main", "0"), ("main", "1"), (FIRST, "1")])
def test_unreachable_hub_names_the_offline_experiment(room, warm, reach, tmp_path, revision, offline):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused, and no other process gets the port
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
        root = room("name=dialogue", "model=hub", "model.repo=acme/tiny", f"model.revision={revision}", *AUTHORED)
        (root / "conf").symlink_to(compose.ROOT / "conf")
        line = the_line(warm(root, "-m", "stages.fetch", **reach(closed, tmp_path, offline)))
    assert f"model.repo = acme/tiny at {revision}: cannot be fetched" in line
    assert line.endswith("; experiment=dialogue_offline needs no hub")
    assert left_in(tmp_path / "cache") == []
    assert not (root / "data/raw/train.jsonl").exists()

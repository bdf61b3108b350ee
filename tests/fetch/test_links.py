"""Folders of data that somebody else wrote: a link in them adds no file from outside."""

import os
import shutil
from pathlib import Path

import pytest

from stages import params
from stages.errors import DataError
from stages.fetch import __main__ as fetch
from stages.models import sources
from stages.params import PathModel, compose

AUTHORED = compose.ROOT / "data/authored"
LINKS = {  # experiment, key, folder, and a file of it that becomes a link
    "bodies": ("complaints", "data.path", "complaints", "bodies/train.txt"),
    "layouts": ("complaints_zh", "data.path", "complaints_zh", "layouts"),
    "questions": ("handbook", "data.path", "handbook", "test.jsonl"),
    "documents": ("handbook", "data.path", "handbook", "documents"),
    "wordings": ("medical", "data.path", "medical", "wordings/valid.yaml"),
    "general": ("complaints", "retention.path", "general", "harm.jsonl"),
}


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that copies a folder of data, turns a file of it into a link out of it, and runs fetch."""
    monkeypatch.chdir(tmp_path)

    def run(name: str) -> None:
        experiment, key, source, link = LINKS[name]
        shutil.copytree(AUTHORED / source, "mine")
        path = Path("mine", link)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(AUTHORED / source / link)
        compose.compose([f"experiment={experiment}", f"{key}={tmp_path / 'mine'}"], params.PARAMS)
        fetch.main()

    return run


@pytest.mark.parametrize("name", ["bodies/train.txt", "test.jsonl", "documents/a.md"])
def test_named_pipe_in_a_data_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: a named pipe or a device, which is not read; put a file there"):
        fetch._refuse_links(tmp_path)


@pytest.mark.parametrize("name", [path.name for path in sorted(AUTHORED.iterdir())])
def test_own_sets_may_share_files_with_each_other(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(compose.ROOT)
    fetch._refuse_links(Path("data/authored", name))
    (tmp_path / "outside.txt").write_text("secret")
    shutil.copytree(AUTHORED, tmp_path / "data/authored", symlinks=True)
    monkeypatch.chdir(tmp_path)
    fetch._refuse_links(Path("data/authored", name).resolve())
    Path("data/authored", name, "link.txt").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(DataError, match=r"link\.txt: a link that leads out of"):
        fetch._refuse_links(Path("data/authored", name))


@pytest.mark.parametrize("name", LINKS)
def test_link_out_of_a_data_folder_is_refused(mine, name: str) -> None:
    link = LINKS[name][3]
    with pytest.raises(
        DataError, match=rf"mine/{link}: a link that leads out of .*mine or nowhere; put a copy of the file there"
    ):
        mine(name)
    assert not Path("data").exists()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return an empty model folder in the layout of the hub's cache."""
    folder = tmp_path / "models--acme--m/snapshots/main"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    "name", ["chat_template.jinja", "tokenizer.json", "config.json", "merges.txt", "additional_chat_templates"]
)
def test_link_out_of_a_model_folder_is_refused(model: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").write_text("secret")
    (model / name).symlink_to(tmp_path / "elsewhere" / ("" if "." not in name else "secret"))
    with pytest.raises(DataError, match=rf"^model\.path: .*{name}: a link that leads out of .*; put a copy of the file there"):
        sources._refuse_links(model)


@pytest.mark.parametrize("named", ["missing", "../../../secret", "../../blobs-of-others/a", "/etc/passwd", "."])
def test_link_of_a_model_that_leads_nowhere_useful_is_refused(model: Path, named: str) -> None:
    (model / "chat_template.jinja").symlink_to(named if named != "." else "chat_template.jinja")
    with pytest.raises(DataError, match="a link that leads out of"):
        sources._refuse_links(model)


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.json", "model.safetensors"])
def test_named_pipe_in_a_model_folder_is_refused(model: Path, name: str) -> None:
    os.mkfifo(model / name)
    with pytest.raises(DataError, match=rf"^model\.path: .*{name}: a named pipe or a device, which is not read"):
        sources._refuse_links(model)


def test_weights_and_blobs_of_a_model_may_be_links(model: Path, tmp_path: Path) -> None:
    blob, weights = model.parent.parent / "blobs/abc", tmp_path / "disk/model.safetensors"
    for path in (blob, weights):
        path.parent.mkdir()
        path.write_text("{}")
    (model / "config.json").symlink_to("../../blobs/abc")
    (model / "model.safetensors").symlink_to(weights)
    (model / "generation_config.json").symlink_to("config.json")
    sources._refuse_links(model)


def test_fetch_checks_the_links_of_a_model(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (model / "chat_template.jinja").symlink_to("/etc/hostname")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/authored").symlink_to(AUTHORED)
    compose.compose(["experiment=smoke", "model=path", f"model.path={model}", "model.name=m", "model.license=x"], params.PARAMS)
    with pytest.raises(DataError, match=r"^model\.path: .*chat_template\.jinja: a link that leads out"):
        fetch.main()


def test_folder_of_a_local_teacher_is_checked_too(model: Path) -> None:
    (model / "config.json").write_text("{}")
    (model / "chat_template.jinja").symlink_to("/etc/hostname")
    with pytest.raises(DataError, match=r"^model\.path: .*chat_template\.jinja: a link that leads out"):
        sources.fetch(PathModel(source="path", name="m", path=str(model), license="?"))

"""Folders of data that somebody else wrote: a link in them adds no file from outside."""

import os
import shutil
from pathlib import Path

import pytest

from stages import params
from stages.errors import DataError
from stages.fetch import __main__ as fetch
from stages.params import compose

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


@pytest.mark.parametrize("name", LINKS)
def test_link_out_of_a_data_folder_is_refused(mine, name: str) -> None:
    link = LINKS[name][3]
    with pytest.raises(
        DataError, match=rf"mine/{link}: a link that leads out of .*mine or nowhere; put a copy of the file there"
    ):
        mine(name)
    assert not Path("data").exists()

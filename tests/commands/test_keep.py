"""`tunetrail keep`: a copy with a card that DVC tracks; a bad or taken name and a missing adapter are refused."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages import files
from stages.commands import adapters, clone, keep
from stages.errors import DataError
from stages.models.manifest import MANIFEST, File, Manifest
from stages.params import RandomModel, compose

FILES = {"adapter_config.json": "{}\n", "adapter_model.safetensors": "weights"}
MODEL = RandomModel(source="random", name="tiny", architecture="llama", hidden_size=32, layers=2, license="none")


def git(*arguments: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a git repository with parameters, a manifest, a report and an adapter of the seed 42."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / ".git/site"))
    compose.compose(["experiment=smoke"], tmp_path / "params.yaml")
    shutil.copy(compose.ROOT / ".gitignore", tmp_path)
    manifest = Manifest(model=MODEL, parameters=1, files={"model.safetensors": File(sha256="a" * 64, bytes=1)})
    files.write_text(MANIFEST, manifest.model_dump_json())
    files.write_text(Path("reports/smoke/model_card.md"), "# A card\n")
    for name, text in FILES.items():
        files.write_text(Path("models/42/adapter") / name, text)
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "start")
    return tmp_path


@pytest.fixture
def untracked(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository, where `keep` does not call DVC, which takes seconds."""
    monkeypatch.setattr(adapters, "track", lambda target, is_new: None)
    return repository


def test_kept_copy_has_a_card_and_is_tracked(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True)
    keep.keep("mine", None, "adapter")
    folder = repository / "adapters/mine"
    assert {name: (folder / name).read_text() for name in FILES} == FILES
    assert (folder / "model_card.md").read_text() == "# A card\n"
    card = adapters.Card(**files.read_json(folder / "card.json"))
    assert (card.experiment, card.seed, card.what) == ("smoke", 42, "adapter")
    assert card.commit.split()[0] == git("rev-parse", "HEAD").strip()
    assert card.base == adapters.Base(name="tiny", weights={"model.safetensors": "a" * 64})
    assert card.files == {name: files.file_hash(folder / name) for name in FILES}
    assert git("status", "--porcelain", "--", "adapters") == "?? adapters/\n"
    assert git("ls-files", "--others", "--exclude-standard", "adapters").split() == ["adapters/mine.dvc"]
    assert "-S train.start_from=adapters/mine" in capsys.readouterr().out
    # `dvc exp run` does this first; it removes what DVC has linked and no file of its own names.
    subprocess.run([sys.executable, "-m", "dvc", "checkout", "--quiet"], check=True)
    assert {name: (folder / name).read_text() for name in FILES} == FILES


def test_same_content_is_kept_once_and_other_content_refused(untracked: Path) -> None:
    keep.keep("mine", 42, "adapter")
    before = {path: path.read_bytes() for path in (untracked / "adapters/mine").iterdir()}
    keep.keep("mine", 42, "adapter")
    files.write_text(untracked / "models/42/adapter/adapter_model.safetensors", "other")
    with pytest.raises(DataError, match=r"^adapters/mine: holds other content; choose another name$"):
        keep.keep("mine", 42, "adapter")
    assert {path: path.read_bytes() for path in (untracked / "adapters/mine").iterdir()} == before


def test_adapter_of_a_user_has_a_folder_apart(untracked: Path) -> None:
    keep.keep("users/ann", 42, "adapter")
    assert (untracked / "adapters/users/ann/card.json").is_file()
    files.write_text(Path("adapters/users/ann.dvc"), "outs:\n")
    assert git("ls-files", "--others", "--exclude-standard", "adapters").split() == ["adapters/users/ann.dvc"]


@pytest.mark.parametrize(
    "name",
    ["", ".hidden", "a/b", "../x", "x.dvc", "-x", "x y", "x" * 101, "none", "None", "users", "users/", "users/a/b", "users/.."],
)
def test_name_that_could_be_misread_is_refused(untracked: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"^NAME = "):
        keep.keep(name, None, "adapter")
    assert not (untracked / "adapters").exists()


@pytest.mark.parametrize(
    ("seed", "what", "message"),
    [
        (43, "adapter", "models/43/adapter: holds no adapter or model; run `dvc repro` first"),
        (42, "pretrained", "models/42/pretrained: holds no .* -S pretrain=documents"),
        (42, "aligned", "models/42/aligned: holds no .* -S align=dpo"),
    ],
)
def test_what_was_not_trained_is_refused(untracked: Path, seed: int, what: str, message: str) -> None:
    (untracked / "models/42/pretrained").mkdir()  # as pretrain=none leaves it
    with pytest.raises(DataError, match=f"^{message}"):
        keep.keep("mine", seed, what)


def test_copy_that_is_elsewhere_keeps_its_name(untracked: Path) -> None:
    files.write_text(Path("adapters/mine.dvc"), "outs:\n")
    with pytest.raises(DataError, match=r"^adapters/mine\.dvc: the name is taken .*`dvc pull adapters/mine\.dvc`"):
        keep.keep("mine", None, "adapter")


def test_copy_that_dvc_cannot_track_is_removed(repository: Path) -> None:
    with pytest.raises(DataError, match=r"^adapters/mine: DVC cannot track it: .*; nothing is kept$"):
        keep.keep("mine", None, "adapter")  # there is no .dvc
    assert [path.name for path in (repository / "adapters").iterdir()] == []


def test_nothing_is_kept_while_dvc_runs(untracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: Callable[[], str] = lambda: "process 1 (dvc repro)"  # noqa: E731
    monkeypatch.setattr(clone, "_running", refused)
    with pytest.raises(DataError, match=r"process 1 \(dvc repro\) runs in this clone"):
        keep.keep("mine", None, "adapter")
    assert not (untracked / "adapters").exists()

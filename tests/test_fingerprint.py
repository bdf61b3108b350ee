"""The key of stored and unfinished work: it changes with the code and the libraries that compute, and with nothing else."""

import pytest

from stages import fingerprint


def test_key_changes_with_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint.code("teachers/local.py")
    monkeypatch.setattr(fingerprint, "version", lambda name: "99" if name == "torch" else "1")
    assert fingerprint.code("teachers/local.py") != before


def test_key_changes_with_a_file_of_a_room_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    generation, text = fingerprint.code("generation"), fingerprint.code("text")
    hashed = fingerprint.file_hash
    monkeypatch.setattr(fingerprint, "file_hash", lambda path: "0" * 64 if path.name == "decoding.py" else hashed(path))
    assert fingerprint.code("generation") != generation
    assert fingerprint.code("text") == text


def test_code_that_is_not_there_is_no_part_of_a_key() -> None:
    with pytest.raises(FileNotFoundError, match="stages/decoding"):
        fingerprint.code("decoding")

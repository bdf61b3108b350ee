"""The validate stage: an adapter or model to continue from is checked before anything runs."""

import json
from pathlib import Path

import pytest

from stages.errors import DataError
from stages.validate.__main__ import MOST, _require_start, _summarised


def test_adapter_of_loftq_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"r": 8, "loftq_config": {}}), encoding="utf-8")
    _require_start(str(tmp_path), whole=False)
    config.write_text(json.dumps({"r": 8, "loftq_config": {"type": "nf4", "double_quant": True}}), encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.start_from = .* was trained with lora\.init=loftq"):
        _require_start(str(tmp_path), whole=False)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]"])
def test_damaged_adapter_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_bytes(content)
    with pytest.raises(DataError, match=r"its adapter_config\.json is damaged"):
        _require_start(str(tmp_path), whole=False)


def test_unloadable_whole_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=r"^train\.start_from = .*: cannot be loaded as a whole model: "):
        _require_start(str(tmp_path), whole=True)


@pytest.mark.parametrize(("there", "whole"), [("adapter_config.json", True), ("config.json", False)])
def test_whole_model_and_adapter_are_not_interchangeable(there: str, whole: bool, tmp_path: Path):
    (tmp_path / there).write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.start_from = .*: has no (adapter_)?config\.json, so it is not"):
        _require_start(str(tmp_path), whole=whole)


def test_truncated_weights_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(DataError, match=r"adapter_model\.safetensors: damaged"):
        _require_start(str(tmp_path), whole=False)


def test_many_differences_from_conf_are_one_line() -> None:
    few = [f"params.yaml: data.key{number} = 1" for number in range(MOST)]
    assert _summarised(few) == few
    (line,) = _summarised([*few, "params.yaml: name = mine"])
    assert "differs in 6 keys" in line and "`tunetrail compose --check`" in line

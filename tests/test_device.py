"""The free memory of a machine and of a container, and the heap that a process reserves."""

from pathlib import Path

import psutil
import pytest

from stages.errors import DataError

pytestmark = pytest.mark.model

STAT = "anon 5\ninactive_anon 9\ninactive_file 300\nactive_file 7\n"


def group(folder: Path, limit: str, stat: str = STAT) -> Path:
    for name, text in (("max", limit), ("current", "1000\n"), ("stat", stat)):
        (folder / f"memory.{name}").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(("limit", "stat", "free"), [("5000\n", STAT, 4300), ("max\n", STAT, None), ("5000\n", "", None)])
def test_free_memory_heeds_the_limit_of_a_container(tmp_path, monkeypatch, limit, stat, free):
    from stages import device

    monkeypatch.setattr(device, "CGROUP", group(tmp_path, limit, stat))
    assert device.free_memory("cpu") == (free or pytest.approx(psutil.virtual_memory().available, rel=0.1))


def test_without_a_container_all_of_the_machine_is_free(tmp_path, monkeypatch):
    from stages import device

    monkeypatch.setattr(device, "CGROUP", tmp_path / "absent")
    assert device.free_memory("cpu") == pytest.approx(psutil.virtual_memory().available, rel=0.1)


def test_a_reserved_heap_takes_no_memory_until_it_is_used():
    from stages import device

    before = psutil.Process().memory_info().rss
    device._keep_freed_memory.__wrapped__()
    assert psutil.Process().memory_info().rss - before < device.HEAP / 100


def test_kernels_that_only_warned_are_refused_in_the_block():
    import torch

    from stages import device

    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with device.strictly_deterministic():
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
        with pytest.raises(DataError, match="auto: cumsum_cuda gives other bytes each time"), device.strictly_deterministic():
            raise RuntimeError("cumsum_cuda does not have a deterministic implementation, but you set …")
        with pytest.raises(RuntimeError, match="out of memory"), device.strictly_deterministic():
            raise RuntimeError("CUDA out of memory")
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("own", "checks", "products", "after"),
    [(None, 1, 2, None), (None, 2, 2, ":4096:8"), (":16:8", 0, 0, ":16:8")],
)
def test_cublas_workspace_is_named_for_the_first_product_only(monkeypatch, own, checks, products, after):
    import os

    import torch

    from stages import device

    named, made = "CUBLAS_WORKSPACE_CONFIG", []
    monkeypatch.delenv(named, raising=False)
    if own:
        monkeypatch.setenv(named, own)

    def product(*_):
        made.append(named in os.environ)
        if len(made) <= checks and not made[-1]:
            raise RuntimeError

    monkeypatch.setattr(torch, "ones", lambda *shape, device: torch.zeros(*shape))
    monkeypatch.setattr(torch, "mm", product)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *_: None)
    device._fix_products.__wrapped__()
    assert len(made) == products and made[:1] in ([], [True]) and os.environ.get(named) == after

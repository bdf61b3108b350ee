"""The device that computes: prepare it, and measure the memory that it has left and uses."""

import ctypes
import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psutil
import torch

from stages.errors import DataError
from stages.params import Runtime

BLOCK, HEAP, PAGE = 2**28, 2**32, 2**12  # bytes
CGROUP = Path("/sys/fs/cgroup")  # of a container; its limit is not in what psutil reads


def kind(runtime: Runtime) -> str:
    """Return cpu or cuda; auto chooses a GPU if there is one."""
    if runtime.device != "auto":
        return runtime.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def name(runtime: Runtime) -> str:
    return torch.cuda.get_device_name() if kind(runtime) == "cuda" else platform.processor() or platform.machine()


def computed(device: str, precision: str) -> str:
    """Return the precision in which a device, such as cpu or cuda:0, computes if it is asked for `precision`.

    A processor without instructions for products of 16 bits, such as one with AVX2 alone, computes in fp32: in bf16 the same
    product takes some hundred times as long (docs/performance.md). Weights stay the same numbers; the rest is rounded less.
    """
    return precision if device != "cpu" or multiplies(precision) else "fp32"


def multiplies(precision: str) -> bool:
    """Return whether torch has fast products in this precision on this processor."""
    if precision == "fp32":
        return True
    return torch.backends.mkldnn.is_available() and bool(getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported")())


def prepare(runtime: Runtime) -> None:
    """Fix the thread count and, on a GPU, choose deterministic kernels; call this before anything is computed."""
    os.environ.setdefault("FLASH_ATTENTION_DETERMINISTIC", "1")
    _keep_freed_memory()
    torch.set_num_threads(runtime.threads)
    if kind(runtime) == "cuda":
        _fix_products()
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False


@contextmanager
def strictly_deterministic() -> Iterator[None]:
    """Use deterministic kernels also where torch only warns otherwise, such as FlashAttention's backward pass.

    Raise DataError if the model needs a kernel that has no deterministic form.
    """
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        kernel = str(error).partition(" ")[0]
        raise DataError(f"train.attn_implementation = auto: {kernel} gives other bytes each time; set it to sdpa") from error
    finally:
        torch.use_deterministic_algorithms(True, warn_only=only_warns)


@cache
def _fix_products() -> None:
    """Let torch see that cuBLAS is deterministic, which it checks once, at the first product.

    It asks for a workspace by an environment variable, but parses this again for each product, which takes four times as long
    as the start of the product. One stream is deterministic without it.
    """
    name = "CUBLAS_WORKSPACE_CONFIG"
    if name not in os.environ:
        os.environ[name] = ":4096:8"
        torch.use_deterministic_algorithms(True)
        one = torch.ones(1, 1, device="cuda")
        torch.mm(one, one)
        del os.environ[name]
        try:
            torch.mm(one, one)
        except RuntimeError:  # a PyTorch that checks each time
            os.environ[name] = ":4096:8"


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to BLOCK bytes, and let the kernel give it HEAP bytes in huge pages.

    By default it returns blocks above 32 MiB to the kernel and gets them back page by page. That takes a third of the time
    in which a wide batch reads its prompts. Larger blocks are still returned: with a vocabulary of 262,144, keeping the
    logits would raise the memory of training from 4.9 to 8.6 GiB. Huge pages (2 MiB) spare a processor most of its searches
    for addresses. Reserved memory counts only once it is used.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc, mmap_threshold, trim_threshold, huge_pages = ctypes.CDLL(None), -3, -1, 14  # as in malloc.h and mman.h
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.mallopt(mmap_threshold, BLOCK)
    libc.mallopt(trim_threshold, -1)
    size = BLOCK - 2**20
    blocks = [block for _ in range(HEAP // BLOCK) if (block := libc.malloc(size))]
    for block in blocks:
        start = -(-block // PAGE) * PAGE
        libc.madvise(start, block + size - start, huge_pages)  # a kernel without them refuses, and nothing changes
    for block in blocks:
        libc.free(block)


def free_memory(device: str) -> int:
    """Return the bytes that a run may still use: of the GPU, or of the machine or its container."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return min(psutil.virtual_memory().available, _free_in_container())


def _free_in_container() -> int:
    """Return how much a container's limit leaves, without files that the kernel only keeps; without a limit, the most."""
    try:
        limit, used, kept = ((CGROUP / f"memory.{file}").read_text() for file in ("max", "current", "stat"))
        return int(limit) - int(used) + int(kept.partition("inactive_file ")[2].split()[0])
    except (OSError, ValueError, IndexError):  # no container, an old kernel, or no limit: `max`
        return sys.maxsize


class Memory:
    """Memory in GiB (2^30 bytes) before and at the peak of the code that runs between construction and `figures`.

    On a CPU it is the resident memory of the process. On a GPU it is what torch allocated and reserved; the constructor
    resets the peak counters.
    """

    def __init__(self, device: str) -> None:
        self.on_gpu = device == "cuda"
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_reserved()
        else:
            self.before = _peak_resident()

    def peak(self) -> int:
        """Return bytes."""
        return torch.cuda.max_memory_allocated() if self.on_gpu else _peak_resident()

    def figures(self) -> dict[str, float]:
        figures = {"memory_before_gib": _gib(self.before), "memory_peak_gib": _gib(self.peak())}
        if not self.on_gpu:
            return figures
        total, reserved = torch.cuda.get_device_properties(0).total_memory, torch.cuda.max_memory_reserved()
        return figures | {
            "memory_reserved_gib": _gib(reserved),
            "memory_total_gib": _gib(total),
            "memory_share": round(reserved / total, 4),
            "memory_training_share": round((reserved - self.before) / total, 4),
        }


def _peak_resident() -> int:
    """Return bytes; the kernel's counter never falls, so "before" is the peak up to then (loading included)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _gib(size: int) -> float:
    return round(size / 2**30, 3)

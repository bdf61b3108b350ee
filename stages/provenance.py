"""Record what depends on the machine: device, versions, memory. It is stored in data/cost/, never in a result."""

import ctypes
import os
import platform
import resource
import sys
from importlib.metadata import version
from typing import Any

from stages.params import Runtime

PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes")


def machine(runtime: Runtime) -> dict[str, Any]:
    """Return device, threads and library versions of this process."""
    return {
        "device": device(runtime),
        "device_name": _device_name(runtime),
        "threads": runtime.threads,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {name: version(name) for name in PACKAGES},
    }


def prepare(runtime: Runtime) -> None:
    """Fix the thread count and, on a GPU, choose deterministic kernels; call this before anything is computed."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _keep_freed_memory()
    import torch

    torch.set_num_threads(runtime.threads)
    if device(runtime) == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False


def _keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 256 MiB.

    By default it returns blocks above 32 MiB to the kernel and gets them back page by page. That takes a third of the time
    in which a wide batch reads its prompts. Larger blocks are still returned: with a vocabulary of 262,144, keeping the
    logits would raise the memory of training from 4.9 to 8.6 GiB.
    """
    if platform.libc_ver()[0] == "glibc":
        libc, mmap_threshold, trim_threshold = ctypes.CDLL(None), -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD in malloc.h
        libc.mallopt(mmap_threshold, 2**28)
        libc.mallopt(trim_threshold, -1)


def device(runtime: Runtime) -> str:
    """Return cpu or cuda; auto chooses a GPU if there is one."""
    if runtime.device != "auto":
        return runtime.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class Memory:
    """Memory in GiB (2^30 bytes) before and at the peak of the code that runs between construction and `figures`.

    On a CPU it is the resident memory of the process. On a GPU it is what torch allocated and reserved; the constructor
    resets the peak counters.
    """

    def __init__(self, device: str) -> None:
        self.on_gpu = device == "cuda"
        if self.on_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_reserved()
        else:
            self.before = _peak_resident()

    def figures(self) -> dict[str, float]:
        if not self.on_gpu:
            return {"memory_before_gib": _gib(self.before), "memory_peak_gib": _gib(_peak_resident())}
        import torch

        total, reserved = torch.cuda.get_device_properties(0).total_memory, torch.cuda.max_memory_reserved()
        return {
            "memory_before_gib": _gib(self.before),
            "memory_peak_gib": _gib(torch.cuda.max_memory_allocated()),
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


def _device_name(runtime: Runtime) -> str:
    if device(runtime) == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return platform.processor() or platform.machine()

"""What the machine, not the method, decides: device, versions, memory. Stored in data/cost/, never in a result."""

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
    """Device, threads and library versions of this process."""
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
    """Before anything is computed: a fixed thread count, and on a GPU deterministic kernels (a CPU's repeat as they are)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _keep_freed_memory()
    import torch

    torch.set_num_threads(runtime.threads)
    if device(runtime) == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False


def _keep_freed_memory() -> None:
    """glibc hands blocks above 32 MB back to the kernel when they are freed and gets them again page by page: a third of the
    time in which a wide batch reads its prompts. Above 256 MB they still go back: kept, the logits of a vocabulary of 262,144
    take training from 5.3 to 9.2 GB."""
    if platform.libc_ver()[0] == "glibc":
        libc, mmap_threshold, trim_threshold = ctypes.CDLL(None), -3, -1  # their numbers in malloc.h
        libc.mallopt(mmap_threshold, 2**28)
        libc.mallopt(trim_threshold, -1)


def device(runtime: Runtime) -> str:
    """cpu or cuda; auto takes a GPU where there is one."""
    if runtime.device != "auto":
        return runtime.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class Memory:
    """Memory in MB (10^6 bytes) before and at the peak of what runs between construction and `figures`.

    On a CPU the resident memory of the process; on a GPU what torch allocated and reserved, with the peak counters reset.
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
            return {"memory_before_mb": _mb(self.before), "memory_peak_mb": _mb(_peak_resident())}
        import torch

        total, reserved = torch.cuda.get_device_properties(0).total_memory, torch.cuda.max_memory_reserved()
        return {
            "memory_before_mb": _mb(self.before),
            "memory_peak_mb": _mb(torch.cuda.max_memory_allocated()),
            "memory_reserved_mb": _mb(reserved),
            "memory_total_mb": _mb(total),
            "memory_share": round(reserved / total, 4),
            "memory_training_share": round((reserved - self.before) / total, 4),
        }


def _peak_resident() -> int:
    """Bytes; the kernel's counter never falls, so "before" is the peak up to then (loading included)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _mb(size: int) -> float:
    return round(size / 1e6, 1)


def _device_name(runtime: Runtime) -> str:
    if device(runtime) == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return platform.processor() or platform.machine()

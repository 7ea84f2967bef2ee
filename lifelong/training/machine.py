"""What the machine offers and a run takes of it; known before torch is imported."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

LIMIT = "OMP_NUM_THREADS"  # of threads; joblib sets it where several runs share a machine
VALUES_A_THREAD = 10_000  # of a batch, from which on one more thread pays: scripts/bench_threads.py
# How long GNU's OpenMP lets a thread wait awake for the others. Its own 300,000 turns make a step
# many times slower as soon as another process needs a core; with these an idle machine is as fast.
SPIN = {"GOMP_SPINCOUNT": "10000"}
# Of the allocator of glibc, by the numbers of mallopt, in bytes: blocks from which on the system is
# asked for each one alone, and free memory from which on some is given back.
KEPT = {-3: ("MALLOC_MMAP_THRESHOLD_", 2**28), -1: ("MALLOC_TRIM_THRESHOLD_", 2**30)}
_DRIVER = Path("/proc/driver/nvidia/gpus")


def cores() -> int:
    """Physical cores that this process may use, by affinity and by its group's quota."""
    from joblib import cpu_count

    return max(1, int(cpu_count(only_physical_cores=True)))


def gpus() -> int:
    """NVIDIA GPUs that the driver shows; whether PyTorch can use them, only PyTorch knows."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = len(list(_DRIVER.glob("*"))) or len(list(Path("/dev").glob("nvidia[0-9]*")))
    if shown is None:
        return there
    return min(there, len([each for each in shown.split(",") if each.strip() not in ("", "-1")]))


def threads(config: DictConfig) -> int:
    """Threads of a run: those that were asked for, or where that is auto what pays.

    That is a thread for every `VALUES_A_THREAD` values of a batch of images, at least one, and at
    most OMP_NUM_THREADS or, where that is not set, the cores.

    Args:
        config: complete.
    """
    if config.threads != "auto":
        return int(config.threads)
    given = os.environ.get(LIMIT, "").split(",")[0]
    most = int(given) if given.isdigit() and int(given) else cores()
    shape = _shape(config)
    if shape is None:
        return most
    return min(most, max(1, math.prod(shape) * int(config.batch_size) // VALUES_A_THREAD))


def _shape(config: DictConfig) -> list[int] | None:
    """Of an image, (c, h, w); None where the configuration does not say it."""
    for key in ("backbone.shape", "data.shape"):
        found = OmegaConf.select(config, key)
        if found is not None and all(isinstance(size, int) for size in found):
            return list(found)
    return None


def keep_freed_memory() -> None:
    """Lets the C library keep memory that tensors have left for those to come.

    By itself it gives large blocks back at once, and the system clears every page that is asked for
    again: in training small networks on a CPU a tenth to a fifth of all the time. The most that a
    process takes is the same. Only glibc is asked, and what its variables say stays.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for number, (variable, size) in KEPT.items():
            if variable not in os.environ:
                library.mallopt(number, size)


@contextmanager
def threads_of(number: int) -> Iterator[None]:
    """PyTorch computes with so many threads in the block, which is to import it if need be."""
    for key, value in SPIN.items():
        if "OMP_WAIT_POLICY" not in os.environ:
            os.environ.setdefault(key, value)
    keep_freed_memory()
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    import torch

    torch.set_num_threads(number)
    try:
        yield
    finally:
        if before is not None:
            torch.set_num_threads(before)


def device(config: DictConfig) -> str:
    """Where a run is going to compute, in a word."""
    asked: Any = config.trainer.get("accelerator", "auto")
    if asked in ("gpu", "cuda") or (asked == "auto" and gpus()):
        return "GPU"
    return "CPU" if asked in ("auto", "cpu") else str(asked)

"""Where a run took place."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import lifelong

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy")


def environment() -> dict[str, Any]:
    """Versions, device, git commit of the package's checkout, command line."""
    return {
        "lifelong": lifelong.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "command": shlex.join(["python", "-m", "lifelong.run", *sys.argv[1:]]),
    }


def _commit() -> str | None:
    """Commit of the checkout, with `+` if it has changes; None outside one."""
    root = Path(lifelong.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head, status = (
            subprocess.run(
                ["git", "-C", str(root), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if status else "")

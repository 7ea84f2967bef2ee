"""What a configuration from a file may have built.

A run's folder may be somebody else's. Its config.yaml names what is built of it, and so could name
anything that Python can import. Built is what `conf/` names, and classes of PyTorch: optimizers,
schedules, modules; makers of torchvision's networks and its transforms. All else needs trust.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from lifelong.configuration.compose import FOLDER
from lifelong.configuration.former import TARGETS

KINDS = {  # of what PyTorch's packages hold, by the beginning of the name
    "torch.optim.": ("torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler"),
    "torch.nn.": ("torch.nn.Module",),
    "torchvision.transforms.": ("torch.nn.Module",),
}
NETWORKS = "torchvision.models."


def check(tree: Any, folder: Path) -> None:
    """Refuses a configuration that names something else; nothing is imported to find out.

    Args:
        tree: plain and resolved.
        folder: that it is from, for the message.

    Raises:
        ValueError: what would be run, and how to have it run.
    """
    foreign = sorted({name for name in targets(tree) if not allowed(name)})
    if foreign:
        raise ValueError(
            f"{folder}: its config.yaml would run {', '.join(foreign)}, which is no part of "
            "lifelong; if it is yours, or you trust who made it, give trust=true"
        )


def targets(tree: Any) -> Iterator[str]:
    """All names under `_target_`, at any depth."""
    if isinstance(tree, dict):
        if "_target_" in tree:
            yield str(tree["_target_"])
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        for value in tree:
            yield from targets(value)


def allowed(name: str) -> bool:
    """Whether something of that name may be built without being asked."""
    if name in named():
        return True
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name):
        return False
    for beginning, kinds in KINDS.items():
        if name.startswith(beginning):
            found = _found(name)
            wanted = tuple(get_object(kind) for kind in kinds)
            return isinstance(found, type) and issubclass(found, wanted)
    if name.startswith(NETWORKS):
        found = _found(name)
        return callable(found) and getattr(found, "__module__", "").startswith(NETWORKS)
    return False


def _found(name: str) -> Any:
    try:
        return get_object(name)
    except Exception:  # there is no such thing
        return None


@functools.cache
def named() -> frozenset[str]:
    """The targets that `conf/` names, or named."""
    found = set(TARGETS)
    for path in FOLDER.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        found.update(re.findall(r"(?:_target_|multi_head):\s*[\"']?([\w.]+)", text))
    return frozenset(found)

"""lifelong: experiments in lifelong learning, configured by Hydra and run by Lightning.

Shapes in docstrings and at line ends use these letters: b batch, n images of a split, c channels
(or, where the text says so, configurations), h height, w width, t task, k classes of a task,
d layers of a body, f features of a body.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lifelong.data import Batch as Batch
    from lifelong.data import Feed as Feed
    from lifelong.data import Task as Task
    from lifelong.data import TaskStream as TaskStream
    from lifelong.data import Visit as Visit
    from lifelong.finished.load import load_run as load_run
    from lifelong.measures import Measure as Measure
    from lifelong.measures import Prediction as Prediction
    from lifelong.parts.memory import Balanced as Balanced
    from lifelong.parts.memory import Exemplars as Exemplars
    from lifelong.parts.memory import Memory as Memory
    from lifelong.parts.memory import Reservoir as Reservoir
    from lifelong.parts.memory import RingBuffer as RingBuffer
    from lifelong.parts.ticket import load_ticket as load_ticket
    from lifelong.strategies import Round as Round
    from lifelong.strategies import Strategy as Strategy

# Loaded at first use, so that `--help` and configuration errors answer without importing torch.
_HOMES = {
    "Batch": "lifelong.data",
    "Feed": "lifelong.data",
    "load_run": "lifelong.finished.load",
    "Measure": "lifelong.measures",
    "Prediction": "lifelong.measures",
    "load_ticket": "lifelong.parts.ticket",
    **dict.fromkeys(
        ("Balanced", "Exemplars", "Memory", "Reservoir", "RingBuffer"), "lifelong.parts.memory"
    ),
    "Task": "lifelong.data",
    "TaskStream": "lifelong.data",
    "Visit": "lifelong.data",
    "Round": "lifelong.strategies",
    "Strategy": "lifelong.strategies",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lifelong' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""Update rules and learning-rate schedules."""

from lifelong.optim.flatness import SAM, CFlat, Flatness
from lifelong.optim.rmsprop import TensorFlowRMSProp
from lifelong.optim.schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    inverse_time,
    milestones,
    per_task,
    step,
)
from lifelong.optim.tag import TAG
from lifelong.optim.task_optimizer import TaskOptimizer

__all__ = [
    "SAM",
    "TAG",
    "CFlat",
    "Flatness",
    "Schedule",
    "TaskOptimizer",
    "TensorFlowRMSProp",
    "constant",
    "cosine",
    "exponential",
    "inverse_time",
    "milestones",
    "per_task",
    "step",
]

"""Moments of gradients, those of the current task and those kept of finished ones.

What the steps of TAG stand on: Malviya, Ravindran, Chandar, "TAG: Task-based Accumulated Gradients
for Lifelong Learning", CoLLAs 2022, section 3. All is by tensor, of n entries, in its state:

- `mean`, `square`: mu and nu of the current task; `step`: steps that they have seen;
- `directions`, `lengths`, `squares`: u_j = mu_j / |mu_j|, |mu_j| and nu_j of finished tasks, a row
  for each; with TAG-G the first gradients, of unit length, take the place of u_j;
- `gradients`: those of the current task; `tasks`: tasks of the stream that are finished.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.optim.relatedness import TINY

BETA1 = 0.9
BETA2 = {"rmsprop": 0.99, "adam": 0.999}
GROWN = ("directions", "lengths", "squares")

State = dict[str, Any]


def begun(p: Tensor, others: Iterable[State], first_gradients: int) -> State:
    """The state of a tensor before its first step.

    Args:
        p: the tensor.
        others: states of the other tensors, which may know of finished tasks.
        first_gradients: kept of each task; 0 for first moments in their place.
    """
    size, several = p.numel(), (first_gradients,) if first_gradients else ()
    return {
        "step": 0,
        "tasks": max((state.get("tasks", 0) for state in others), default=0),
        "mean": torch.zeros_like(p),
        "square": torch.zeros_like(p),
        "squares": p.new_zeros((0, size)),
        "directions": p.new_zeros((0, *several, size)),
        "lengths": p.new_zeros(0),
        "gradients": p.new_zeros((0, size)),
    }


def accumulate(
    gradients: list[Tensor], states: Sequence[State], rule: str, first_gradients: int
) -> None:
    """Takes the gradients of a step into the moments."""
    squares = [state["square"] for state in states]
    torch._foreach_lerp_([state["mean"] for state in states], gradients, 1 - BETA1)
    if rule == "adagrad":
        torch._foreach_addcmul_(squares, gradients, gradients)
    else:
        torch._foreach_mul_(squares, BETA2[rule])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - BETA2[rule])
    for gradient, state in zip(gradients, states, strict=True):
        if len(state["gradients"]) < first_gradients:
            flat = gradient.flatten()
            unit = flat / flat.norm().clamp(min=TINY)
            state["gradients"] = torch.cat([state["gradients"], unit[None]])


def finish(state: State, first_gradients: int, max_history: int | None) -> None:
    """Keeps the moments of the task, and begins new ones."""
    mean = state["mean"].flatten()
    length = mean.norm()
    direction = mean / length.clamp(min=TINY)
    if first_gradients:
        missing = first_gradients - len(state["gradients"])
        direction = F.pad(state["gradients"], (0, 0, 0, missing))  # (B, n)
    for name, new in zip(GROWN, (direction, length, state["square"].flatten()), strict=True):
        rows = torch.cat([state[name], new[None]])
        first = 0 if max_history is None else max(len(rows) - max_history, 0)
        state[name] = rows[first:].clone()
    state["tasks"] += 1
    state["step"] = 0
    state["mean"], state["square"] = (torch.zeros_like(state["mean"]) for _ in range(2))
    state["gradients"] = state["gradients"][:0].clone()

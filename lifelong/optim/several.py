"""Optimizers of different rules that act as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch.optim import Optimizer

Make = Callable[[list[dict[str, Any]]], Optimizer]


def rule_of(name: str) -> Make:
    """The class of `torch.optim` of that name.

    Raises:
        ValueError: there is none, or it needs several passes a step.
    """
    found = getattr(torch.optim, name, None)
    known = isinstance(found, type) and issubclass(found, Optimizer)
    if known and found not in (Optimizer, torch.optim.LBFGS):
        return cast(Make, found)
    raise ValueError("give a class of torch.optim, such as Adam or SGD")


class Several(Optimizer):
    """Steps parameters by the rules of their groups.

    Args:
        groups: of parameters, as any optimizer takes them; `rule` of a group names the class of
            `torch.optim` that steps it, with the other entries as its options.
        make: makes the optimizer of the groups without a rule.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], make: Make) -> None:
        self._make = make
        self._parts: dict[str | None, Optimizer] = {}  # by their rules
        self._owners: list[Optimizer] = []  # of the groups
        super().__init__(groups, {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Hands a group to the optimizer of its rule; both have the same state and options."""
        rule = param_group.get("rule")
        part = self._parts.get(rule)
        if part is None:
            make = self._make if rule is None else rule_of(rule)
            part = self._parts[rule] = make([param_group])
            part.state = self.state
        else:
            part.add_param_group(param_group)
        self._owners.append(part)
        self.param_groups.append(part.param_groups[-1])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for part in self._parts.values():
            own = zip(self.param_groups, self._owners, strict=True)
            part.state, part.param_groups = self.state, [group for group, by in own if by is part]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of each rule."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts.values():
            part.step()
        return loss

"""Optimizers that outlive a task: told where tasks end, saved and restored by parameter names."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Set
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

LEFT = ("params", "part", "lr", "initial_lr")  # of a group: the schedule's, and what it is of
KEPT = (bool, int, float, str, type(None), Tensor, list, tuple, dict)


class TaskOptimizer(Optimizer):
    """An optimizer whose steps depend on the tasks before; it is kept for the whole stream.

    Attributes:
        grown: entries of a parameter's state, (tasks, ...), which get a row in each `end_task`;
            rows never change, but the oldest may go. Checkpoints write each row once. Such a state
            counts the tasks of the stream in `tasks`.
        shared: options that all groups of parameters have in common.

    >>> import torch
    >>> class Slower(TaskOptimizer):
    ...     def step(self, closure=None):
    ...         for group in self.param_groups:
    ...             for p in group["params"]:
    ...                 p.data.add_(p.grad, alpha=-group["lr"] * group["share"])
    ...     def end_task(self):
    ...         for group in self.param_groups:
    ...             group["share"] /= 2
    >>> w = torch.nn.Parameter(torch.ones(3))
    >>> optimizer = Slower([w], {"lr": 0.5, "share": 1.0})
    >>> optimizer.end_task()
    >>> w.grad = torch.ones(3)
    >>> optimizer.step()
    >>> w
    Parameter containing:
    tensor([0.7500, 0.7500, 0.7500], requires_grad=True)
    """

    grown: ClassVar[tuple[str, ...]] = ()
    shared: ClassVar[tuple[str, ...]] = ()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters, see `torch.optim.Optimizer`.

        Raises:
            ValueError: a group with another value of an option that all share.
        """
        for name in self.shared:
            if param_group.get(name, self.defaults[name]) != self.defaults[name]:
                raise ValueError(
                    f"optimizer.{name}={param_group[name]}: all groups have one, which is "
                    f"{self.defaults[name]}"
                )
        super().add_param_group(param_group)

    @property
    def updates_alike(self) -> bool:
        """Whether each step of a task does the same to tensors that stay where they are.

        Such a step can be recorded; what Python counts in it is counted by `replayed` then.
        """
        return False

    def moved(self) -> list[tuple[nn.Parameter, dict[str, Any]]]:
        """The parameters that have a gradient, with their groups."""
        every = ((p, group) for group in self.param_groups for p in group["params"])
        return [(p, group) for p, group in every if p.grad is not None]

    def replayed(self) -> None:
        """Called when a recorded step has moved the weights."""

    def begin_epoch(self) -> None:
        """Called before each epoch."""

    def report(self) -> dict[str, Any]:
        """What the optimizer tells of the training just ended, by name; for the results."""
        return {}

    def end_task(self) -> None:
        """Called after the training of each task."""


OWN = "state_dict"  # no parameter has this name
Named = Mapping[str, nn.Parameter]
Groups = Mapping[str, Mapping[str, Any]]  # options by a part of parameters' names


def part_of(name: str, parts: Iterable[str]) -> str | None:
    """The first of some parts that a parameter's name has, in whole words between dots.

    >>> part_of("heads.all.3.1.bias", ["bias", "heads"]), part_of("body.0.weight", ["eight"])
    ('bias', None)
    """
    return next((part for part in parts if f".{part}." in f".{name}."), None)


def grouped(named: Named, groups: Groups) -> list[dict[str, Any]]:
    """Parameters as groups of an optimizer: those without options of their own first."""
    found: dict[str | None, list[nn.Parameter]] = {part: [] for part in (None, *groups)}
    for name, p in named.items():
        found[part_of(name, groups)].append(p)
    return [
        {"params": params, **({} if part is None else groups[part]), "part": part}
        for part, params in found.items()
        if params
    ]


def extend(optimizer: Optimizer, named: Named, groups: Groups) -> None:
    """Hands the optimizer the parameters that it does not have yet."""
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    new = {name: p for name, p in named.items() if id(p) not in known}
    for group in grouped(new, groups):
        own = [one for one in optimizer.param_groups if one.get("part") == group["part"]]
        own[0]["params"].extend(group["params"]) if own else optimizer.add_param_group(group)


class Shelf:
    """Parameters that an optimizer passes over for a while, as they get no gradient.

    A loop over all parameters in every step would else grow with the tasks. Their state stays.

    Args:
        optimizer: of which they are taken.
        idle: identities of the parameters.

    Attributes:
        whole: all parameters of each group.
    """

    def __init__(self, optimizer: Optimizer, idle: Set[int]) -> None:
        self.optimizer, self.idle = optimizer, idle
        self.whole = [group["params"] for group in optimizer.param_groups]
        self.shut()

    def shut(self) -> None:
        """Takes them out."""
        for group, whole in zip(self.optimizer.param_groups, self.whole, strict=True):
            group["params"] = [p for p in whole if id(p) not in self.idle]
            for p in whole:
                if id(p) in self.idle:
                    p.grad = None

    def open(self) -> None:
        """Puts them back, in their places."""
        for group, whole in zip(self.optimizer.param_groups, self.whole, strict=True):
            group["params"] = whole


def state_by_name(optimizer: Optimizer, named: Named) -> dict[str, Any]:
    """The state of each parameter, by its name and in the optimizer's order; of named ones alone.

    A parameter that has not been stepped has an empty state. What else a `state_dict` of one's own
    says stands under `OWN`.
    """
    names = {id(p): name for name, p in named.items()}
    ordered = [p for group in optimizer.param_groups for p in group["params"] if id(p) in names]
    found = {names[id(p)]: dict(optimizer.state.get(p, {})) for p in ordered}
    if type(optimizer).state_dict is not Optimizer.state_dict:
        more = optimizer.state_dict()
        own = {key: more[key] for key in more if key not in ("state", "param_groups")}
        found |= {OWN: own} if own else {}
    return found


def of_groups(optimizer: Optimizer) -> dict[str | None, dict[str, Any]]:
    """A copy of what stands in each of its groups, by the part of the network.

    Neither the rate, which follows the schedule, nor the parameters.
    """
    return {
        group.get("part"): {
            key: copy.deepcopy(value)
            for key, value in group.items()
            if key not in LEFT and isinstance(value, KEPT)
        }
        for group in optimizer.param_groups
    }


def same(one: Any, other: Any) -> bool:
    """Whether values of groups are equal, tensors among them.

    >>> import torch
    >>> same([1, torch.ones(2)], [1, torch.ones(2)]), same(torch.ones(2), torch.ones(3))
    (True, False)
    """
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool((one == other).all())
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def reset_groups(optimizer: Optimizer, made: Mapping[str | None, Mapping[str, Any]]) -> None:
    """Puts what `of_groups` gave back into the groups, and takes out what has come since."""
    for group in optimizer.param_groups:
        then = made.get(group.get("part"), {})
        for key, value in list(group.items()):
            if key in then:
                group[key] = copy.deepcopy(then[key])
            elif key not in LEFT and isinstance(value, KEPT):
                del group[key]


def load_by_name(optimizer: Optimizer, named: Named, states: Mapping[str, Any]) -> None:
    """Gives the optimizer's parameters the states of their names; all else stays as it is."""
    names = {id(p): name for name, p in named.items()}
    ordered = [names.get(id(p), "") for group in optimizer.param_groups for p in group["params"]]
    now = optimizer.state_dict()
    now["state"] |= {index: states[name] for index, name in enumerate(ordered) if states.get(name)}
    optimizer.load_state_dict(now | states.get(OWN, {}))

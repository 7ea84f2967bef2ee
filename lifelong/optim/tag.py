"""Task-based accumulated gradients (TAG): step sizes that heed what earlier tasks needed.

Malviya, Ravindran, Chandar, "TAG: Task-based Accumulated Gradients for Lifelong Learning", CoLLAs
2022 (PMLR 199:366-389). The second moments of finished tasks enter the step of the current one,
weighted by how its first moment points against theirs.

Where paper and released program differ, this follows the program, which gave the published
numbers: epsilon stands outside the root, and relatedness is taken for each tensor
(`group="global"` as the paper writes it). Departure from both: a first moment that is zero has
cosine 0 instead of an undefined one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.optim.relatedness import KINDS, TINY, keep_first, latest, relatedness
from lifelong.optim.task_optimizer import TaskOptimizer

BETA1 = 0.9
BETA2 = {"rmsprop": 0.99, "adam": 0.999}
SHARED = ("rule", "group", "step_scope", "weights", "first_gradients", "max_history")
RULES = ("rmsprop", "adagrad", "adam")

if TYPE_CHECKING:
    from lifelong.drawing import Drawings, Results


class TAG(TaskOptimizer):
    """RMSProp, Adagrad or Adam over the second moments of all tasks.

    With mu and nu the moments of the current task k, u_j = mu_j / |mu_j| and nu_j those kept of
    finished tasks: w_kj = exp(-b <mu / |mu|, u_j>), w_kk = exp(-b) (1 in the first task), and
    S = w_kk nu + sum_j w_kj nu_j takes the place of the second moment.

    Call `end_task()` after each task, and `begin_epoch()` before each epoch.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        b: how much relatedness matters, 0 or more.
        rule: `rmsprop` and `adagrad`: lr g / (sqrt(S) + eps); `adam`: with the first moment and the
            bias corrections of Adam, that of the second on the whole of S.
        eps: epsilon.
        group: cosines for each `tensor`, or one for all parameters together (`global`).
        step_scope: the steps that Adam's correction counts: of an `epoch` (official
            implementation) or of a `task`.
        weights: `cosine`, or an ablation of the paper (A.3.6): `one` (TAG-1: all weights 1), `age`
            (TAG-age: w_kj = k - j + 1), `gradients` (TAG-G: cosines between the first
            `first_gradients` gradients of each task in place of the first moments).
        first_gradients: B of TAG-G.
        max_history: finished tasks that are remembered, the latest ones; None for all.

    Raises:
        ValueError: a value out of range.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.ones(3))
    >>> optimizer = TAG([w], lr=0.01)
    >>> w.grad = torch.ones(3)
    >>> optimizer.step()
    >>> optimizer.end_task()
    >>> optimizer.step()
    >>> [[round(value, 3) for value in task] for task in optimizer.relatedness]
    [[0.007]]
    """

    grown = ("directions", "lengths", "squares")
    acts_with: ClassVar[dict[str, str]] = {
        "b": "weights=cosine|gradients",
        "group": "weights=cosine",
        "step_scope": "rule=adam",
        "first_gradients": "weights=gradients",
    }

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        b: float = 5.0,
        rule: Literal["rmsprop", "adagrad", "adam"] = "rmsprop",
        eps: float = 1e-8,
        group: Literal["tensor", "global"] = "tensor",
        step_scope: Literal["epoch", "task"] = "epoch",
        weights: Literal["cosine", "one", "age", "gradients"] = "cosine",
        first_gradients: int = 1,
        max_history: int | None = None,
    ) -> None:
        for name, value, allowed in (
            ("rule", rule, RULES),
            ("group", group, ("tensor", "global")),
            ("step_scope", step_scope, ("epoch", "task")),
            ("weights", weights, KINDS),
        ):
            if value not in allowed:
                raise ValueError(f"optimizer.{name}={value}: give {' or '.join(allowed)}")
        if lr < 0 or b < 0 or eps < 0:
            raise ValueError(f"optimizer: lr={lr}, b={b} and eps={eps} must not be negative")
        if first_gradients < 1 or (max_history is not None and max_history < 0):
            raise ValueError(
                f"optimizer: first_gradients={first_gradients} must be 1 or more, and "
                f"max_history={max_history} 0 or more"
            )
        defaults: dict[str, Any] = {
            "lr": lr,
            "b": b,
            "eps": eps,
            "rule": rule,
            "group": group,
            "weights": weights,
        }
        defaults |= {"step_scope": step_scope, "first_gradients": first_gradients}
        super().__init__(params, defaults | {"max_history": max_history})
        self._last: Tensor | None = None  # weights of the last step, (tensors, tasks)
        self._begin_means()

    # The options that all parameters share; `Optimizer` copies and pickles its defaults.
    rule = property(lambda self: self.defaults["rule"])
    group = property(lambda self: self.defaults["group"])
    step_scope = property(lambda self: self.defaults["step_scope"])
    weights = property(lambda self: self.defaults["weights"])
    first_gradients = property(lambda self: self.defaults["first_gradients"])
    max_history = property(lambda self: self.defaults["max_history"])

    def __getstate__(self) -> dict[str, Any]:
        own = {name: self.__dict__[name] for name in ("_last", "_sum", "_steps")}
        return {**super().__getstate__(), **own}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters, see `torch.optim.Optimizer`.

        Raises:
            ValueError: a group with another rule or kind of weights than the others.
        """
        for name in SHARED:
            if param_group.get(name, self.defaults[name]) != self.defaults[name]:
                raise ValueError(
                    f"optimizer.{name}={param_group[name]}: all groups have one, which is "
                    f"{self.defaults[name]}"
                )
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes rates and state from `state_dict`.

        Raises:
            ValueError: the state of another rule, or of other kinds of weights.
        """
        for state in state_dict["state"].values():
            rule, weights, gradients = state.get("variant", self._variant())
            if (rule, weights, gradients) != self._variant():
                raise ValueError(
                    f"optimizer.rule={self.rule}, weights={self.weights}, first_gradients="
                    f"{self.first_gradients}: the state was made with {RULES[rule]}, "
                    f"{KINDS[weights]}, {gradients}"
                )
        super().load_state_dict(state_dict)

    def _variant(self) -> tuple[int, int, int]:
        """What a state fits; in numbers, because PyTorch takes texts in a state apart."""
        return RULES.index(self.rule), KINDS.index(self.weights), self.first_gradients

    @property
    def relatedness(self) -> list[list[float]]:
        """For each finished task that is remembered, the last w_kj of each tensor."""
        return [] if self._last is None else self._last.T.tolist()

    def report(self) -> dict[str, Any]:
        """`relatedness`: w_kj, the mean over the steps of the last epoch and over all tensors.

        A weight for each finished task that is remembered, in the order of the tasks.
        """
        if self.weights in ("one", "age"):
            return {}
        if not self._steps:
            return {"relatedness": []}
        return {"relatedness": (self._sum / self._steps).tolist()}

    def begin_epoch(self) -> None:
        """Restarts the count of steps where it is that of an epoch, and the report's means."""
        self._begin_means()
        if self.step_scope == "epoch":
            for state in self.state.values():
                state["step"] = 0

    def _begin_means(self) -> None:
        self._sum, self._steps = torch.zeros(()), 0  # of the weights of the steps, mean of tensors

    @torch.no_grad()
    def end_task(self) -> None:
        """Keeps direction and second moment of the task for ever, and begins new ones."""
        for state in self.state.values():
            mean = state["mean"].flatten()
            length = mean.norm()
            direction = mean / length.clamp(min=TINY)
            if self.weights == "gradients":
                missing = self.first_gradients - len(state["gradients"])
                direction = F.pad(state["gradients"], (0, 0, 0, missing))  # (B, n)
            for name, new in (
                ("directions", direction),
                ("lengths", length),
                ("squares", state["square"].flatten()),
            ):
                rows = torch.cat([state[name], new[None]])
                first = 0 if self.max_history is None else max(len(rows) - self.max_history, 0)
                state[name] = rows[first:].clone()
            state["tasks"] += 1
            state["step"] = 0
            state["mean"], state["square"] = (
                torch.zeros_like(state["mean"]),
                torch.zeros_like(state["mean"]),
            )
            state["gradients"] = state["gradients"][:0].clone()
        self._last = None
        self._begin_means()

    @staticmethod
    def drawings(results: Results) -> Drawings:
        """See `Strategy.drawings`."""
        from lifelong.optim.tag_figures import drawings

        return drawings(results)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        used = [(p, group) for group in self.param_groups for p in group["params"]]
        used = [(p, group) for p, group in used if p.grad is not None]
        if used:
            self._update([p for p, _ in used], [group for _, group in used])
        return loss

    def _update(self, params: list[Tensor], groups: list[dict[str, Any]]) -> None:
        gradients = [p.grad for p in params if p.grad is not None]
        states = [self._state(p) for p in params]
        means, squares = [s["mean"] for s in states], [s["square"] for s in states]
        torch._foreach_lerp_(means, gradients, 1 - BETA1)
        if self.rule == "adagrad":
            torch._foreach_addcmul_(squares, gradients, gradients)
        else:
            beta2 = BETA2[self.rule]
            torch._foreach_mul_(squares, beta2)
            torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        for state in states:
            state["step"] += 1
        totals = self._totals(gradients, states, groups)
        self._move(params, gradients, totals, states, groups)

    def _state(self, p: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[p]
        if not state:
            size = p.numel()
            state["variant"] = self._variant()
            state["step"] = 0  # steps of the epoch or task
            # Tasks finished: those of the stream, also for a parameter that comes later.
            state["tasks"] = max((s.get("tasks", 0) for s in self.state.values()), default=0)
            state["mean"], state["square"] = torch.zeros_like(p), torch.zeros_like(p)
            state["squares"] = p.new_zeros((0, size))  # nu_j of finished tasks, (tasks, n)
            several = (self.first_gradients,) if self.weights == "gradients" else ()
            state["directions"] = p.new_zeros((0, *several, size))  # u_j
            state["lengths"] = p.new_zeros(0)  # |mu_j|
            state["gradients"] = p.new_zeros((0, size))
        return state

    def _totals(
        self, gradients: list[Tensor], states: list[dict[str, Any]], groups: list[dict[str, Any]]
    ) -> list[Tensor]:
        """S of each tensor, as new tensors."""
        squares = [s["square"] for s in states]
        finished = [len(s["squares"]) for s in states]
        if self.weights == "gradients":
            keep_first(gradients, states, self.first_gradients)
        if not any(s["tasks"] for s in states):
            return [square.clone() for square in squares]
        bs = [group["b"] for group in groups]
        whole = self.group == "global"
        weights = relatedness(self.weights, states, bs, max(finished), whole)  # (tensors, tasks)
        self._last = weights
        self._sum, self._steps = self._sum.to(weights.device) + weights.mean(0), self._steps + 1
        plain = self.weights in ("one", "age")
        own = [
            1.0 if plain or not state["tasks"] else math.exp(-group["b"])
            for state, group in zip(states, groups, strict=True)
        ]
        totals = []
        for state, w, square, share in zip(states, weights.unbind(), squares, own, strict=True):
            earlier = state["squares"]  # (tasks, n)
            row = latest(w, earlier.shape[0])
            totals.append(torch.addmv(square.flatten(), earlier.t(), row, beta=share))
        return [total.view_as(square) for total, square in zip(totals, squares, strict=True)]

    def _move(
        self,
        params: list[Tensor],
        gradients: list[Tensor],
        totals: list[Tensor],
        states: list[dict[str, Any]],
        groups: list[dict[str, Any]],
    ) -> None:
        roots = totals
        torch._foreach_sqrt_(roots)
        rates = [g["lr"] for g in groups]
        moves = gradients
        if self.rule == "adam":
            steps = [s["step"] for s in states]
            torch._foreach_div_(roots, [(1 - BETA2["adam"] ** step) ** 0.5 for step in steps])
            moves = [s["mean"] for s in states]
            rates = [rate / (1 - BETA1**step) for rate, step in zip(rates, steps, strict=True)]
        torch._foreach_add_(roots, [g["eps"] for g in groups])
        torch._foreach_addcdiv_(params, moves, roots, [-rate for rate in rates])

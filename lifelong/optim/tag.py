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
from torch import Tensor

from lifelong.optim import moments
from lifelong.optim.moments import BETA1, BETA2
from lifelong.optim.relatedness import KINDS, Relatedness, latest
from lifelong.optim.task_optimizer import TaskOptimizer

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

    grown = moments.GROWN
    shared = ("rule", "group", "step_scope", "weights", "first_gradients", "max_history")
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
        same = (rule, group, step_scope, weights, first_gradients, max_history)
        options = dict(zip(self.shared, same, strict=True))
        super().__init__(params, {"lr": lr, "b": b, "eps": eps, **options})
        self.weights = Relatedness(weights, group == "global")

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "weights": self.weights}

    @property
    def _first_gradients(self) -> int:
        """Gradients of each task that are kept."""
        return self.defaults["first_gradients"] if self.weights.kind == "gradients" else 0

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes rates and state from `state_dict`.

        Raises:
            ValueError: the state of another rule, or of other kinds of weights.
        """
        own = self._variant()
        for state in state_dict["state"].values():
            if (other := tuple(state.get("variant", own))) != own:
                told, made = (f"{RULES[a]}, {KINDS[b]}, {n}" for a, b, n in (own, other))
                raise ValueError(
                    f"optimizer.rule, weights, first_gradients={told}: the state was made with "
                    f"{made}"
                )
        super().load_state_dict(state_dict)

    def _variant(self) -> tuple[int, int, int]:
        """What a state fits; in numbers, because PyTorch takes texts in a state apart."""
        rule, number = self.defaults["rule"], self.defaults["first_gradients"]
        return RULES.index(rule), KINDS.index(self.weights.kind), number

    @property
    def relatedness(self) -> list[list[float]]:
        """For each finished task that is remembered, the last w_kj of each tensor."""
        return [] if self.weights.last is None else self.weights.last.T.tolist()

    @property
    def updates_alike(self) -> bool:
        """Unless it counts steps (Adam's corrections, gradients that are kept) or has several b."""
        one = len({group["b"] for group in self.param_groups}) == 1
        return one and self.defaults["rule"] != "adam" and not self._first_gradients

    def replayed(self) -> None:
        self._count([self.state[p] for p, _ in self.moved()])

    def _count(self, states: list[dict[str, Any]]) -> None:
        """A step more of some tensors."""
        for state in states:
            state["step"] += 1
        if any(state["tasks"] for state in states):
            self.weights.count()

    def report(self) -> dict[str, Any]:
        """`relatedness`: w_kj, the mean over the steps of the last epoch and over all tensors.

        A weight for each finished task that is remembered, in the order of the tasks.
        """
        plain = self.weights.kind in ("one", "age")
        return {} if plain else {"relatedness": self.weights.mean()}

    def begin_epoch(self) -> None:
        """Restarts the count of steps where it is that of an epoch, and the report's means."""
        self.weights.begin()
        if self.defaults["step_scope"] == "epoch":
            for state in self.state.values():
                state["step"] = 0

    @torch.no_grad()
    def end_task(self) -> None:
        """Keeps direction and second moment of the task for ever, and begins new ones."""
        for state in self.state.values():
            moments.finish(state, self._first_gradients, self.defaults["max_history"])
        self.weights.last = None
        self.weights.begin()

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
        if used := self.moved():
            self._update([p for p, _ in used], [group for _, group in used])
        return loss

    def _update(self, params: list[Tensor], groups: list[dict[str, Any]]) -> None:
        gradients = [p.grad for p in params if p.grad is not None]
        states, rule = [self._state(p) for p in params], self.defaults["rule"]
        moments.accumulate(gradients, states, rule, self._first_gradients)
        roots = self._totals(states, [group["b"] for group in groups])
        torch._foreach_sqrt_(roots)
        rates, moves = [group["lr"] for group in groups], gradients
        if rule == "adam":
            steps = [state["step"] + 1 for state in states]
            torch._foreach_div_(roots, [(1 - BETA2["adam"] ** step) ** 0.5 for step in steps])
            moves = [state["mean"] for state in states]
            rates = [rate / (1 - BETA1**step) for rate, step in zip(rates, steps, strict=True)]
        torch._foreach_add_(roots, [group["eps"] for group in groups])
        torch._foreach_addcdiv_(params, moves, roots, [-rate for rate in rates])
        self._count(states)

    def _state(self, p: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[p]
        if not state:
            state["variant"] = self._variant()
            state.update(moments.begun(p, self.state.values(), self._first_gradients))
        return state

    def _totals(self, states: list[dict[str, Any]], bs: list[float]) -> list[Tensor]:
        """S of each tensor, as new tensors."""
        squares = [state["square"] for state in states]
        if not any(state["tasks"] for state in states):
            return [square.clone() for square in squares]
        remembered = max(len(state["squares"]) for state in states)
        weights, totals = self.weights.of(states, bs, remembered), []
        plain = self.weights.kind in ("one", "age")
        for state, w, b, square in zip(states, weights.unbind(), bs, squares, strict=True):
            earlier = state["squares"]  # (tasks, n)
            own = 1.0 if plain or not state["tasks"] else math.exp(-b)
            row = latest(w, earlier.shape[0])
            total = torch.addmv(square.flatten(), earlier.t(), row, beta=own)
            totals.append(total.view_as(square))
        return totals

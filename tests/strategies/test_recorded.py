"""A step that is replayed is the step that would have been computed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_class
from torch import Tensor, nn
from torch.optim import SGD, Adam, RMSprop
from torch.optim.lr_scheduler import LambdaLR
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from lifelong.data import Batch, Fed
from lifelong.optim import TAG
from lifelong.strategies import Strategy, recorded
from lifelong.strategies.recorded import (
    WARM_UP,
    RecordedSteps,
    RecordedUpdates,
    Recording,
    Work,
    updates_alike,
)
from lifelong.training import assembly
from tests.conftest import configured, execute, results_of, state_of
from tests.test_contract import FAST, STRATEGIES, alike, chosen

LOOKS_AT_VALUES = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "_unique2", "item")


class Tape(TorchDispatchMode):
    """Does to tensors of the CPU what a CUDA graph does: operations at fixed places, in order.

    What was computed goes into the tensors of the time of recording; whatever Python did between
    is not done again. As in a graph, nothing may ask for values of what lies on the device.

    Args:
        device: tensors that pretend to lie there; what is computed of them does, too.
    """

    def __init__(self, device: Iterable[Tensor]) -> None:
        super().__init__()
        self.device = {tensor.untyped_storage().data_ptr() for tensor in device}
        self.done: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        there = any(value.untyped_storage().data_ptr() in self.device for value in given)
        if there and func.overloadpacket.__name__ in LOOKS_AT_VALUES:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        found = func(*args, **(kwargs or {}))
        results = [value for value in tree_flatten(found)[0] if isinstance(value, Tensor)]
        if there:
            self.device |= {value.untyped_storage().data_ptr() for value in results}
        new = [] if _lies_in_given(func) else [value.detach() for value in results]
        self.done.append((func, args, kwargs or {}, new))
        return found

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, new in self.done:
                again = tree_flatten(func(*args, **kwargs))[0]
                again = [value for value in again if isinstance(value, Tensor)]
                for value, other in zip(new, again, strict=False):
                    value.copy_(other)


def _lies_in_given(func: Any) -> bool:
    """Whether the results are views of what was given, or the given itself."""
    return any(value.alias_info is not None for value in func._schema.returns)


class Taped(RecordedSteps):
    """Records on a tape, and computes at once; so the first replay has nothing to do.

    Args:
        strategy: whose steps they are.
    """

    def __init__(self, strategy: Strategy) -> None:
        super().__init__(self._on_tape)
        self.strategy, self.replays = strategy, 0

    def _record(self, fed: Fed, parameters: Any, loss_of: Callable[[Fed], Tensor]) -> Recording:
        def noted(own: Fed) -> Tensor:
            self._tape.device |= {
                tensor.untyped_storage().data_ptr()
                for batch in (own.batch, *own.feeds.values())
                for tensor in (batch.x, batch.y)
            }
            return loss_of(own)

        return super()._record(fed, parameters, noted)

    def _on_tape(self, work: Work) -> Work:
        strategy = self.strategy
        self._tape = tape = Tape([*strategy.parameters(), *strategy.buffers()])
        with tape:
            work()
        first = [True]

        def replay() -> None:
            self.replays += 1
            if first:
                first.clear()
            else:
                tape.replay()

        return replay


CAPTURABLE = sorted(
    name
    for name in STRATEGIES
    if vars(get_class(str(configured(f"strategy={name}").strategy._target_))).get("capturable")
)


def test_a_replay_leaves_no_gradient_of_another_kind_of_step() -> None:
    """Of a parameter that the recorded step does not reach."""
    v, w = (nn.Parameter(torch.ones(2)) for _ in range(2))
    fed = Fed(Batch(torch.ones(1, 2), torch.zeros(1), torch.zeros(1).long()), {})
    steps = RecordedSteps(lambda work: (work(), work)[1])
    for _ in range(WARM_UP):
        steps(fed, 0, lambda: [v, w], lambda own: (own.batch.x @ w).sum())
    v.grad = torch.ones(2)
    steps(fed, 0, lambda: [v, w], lambda own: (own.batch.x @ w).sum())
    v.grad = torch.ones(2)
    steps(fed, 0, lambda: [v, w], lambda own: (own.batch.x @ w).sum())
    assert v.grad is None


def test_many_methods_can_be_recorded() -> None:
    assert {"finetune", "ewc", "mas", "si", "lwf", "lasem_hps", "hps", "tf"} <= set(CAPTURABLE)


# What others of them do in a step is done by one of these, too.
ALIKE = {"l2", "mtl", "stable_sgd", "single_task", "brute_force_tf", "brute_force_dfcnn",
         "lasem_tf", "lasem_group_hps"}  # fmt: skip


@pytest.mark.parametrize(
    "strategy", [*sorted({*CAPTURABLE} - ALIKE), "lasem_hps strategy.narrowing.below=0.01"]
)
def test_replayed_steps_are_those_that_are_computed(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taped = recorded_and_computed(tmp_path, monkeypatch, *chosen(strategy))
    assert taped.replays > 10


def recorded_and_computed(folder: Path, monkeypatch: pytest.MonkeyPatch, *given: str) -> Taped:
    """A run on a tape has the results and the state of one that is computed."""
    options = [*FAST, "tasks=2", "epochs=2", "batch_size=8", "heads.dropout=0.2", *given]
    plain, recorded = folder / "plain", folder / "recorded"
    assert execute(plain, *options) == 0
    steps: list[Taped] = []
    build = assembly._compile

    def build_recorded(made: Strategy, wanted: bool | str) -> None:
        steps.append(Taped(made))
        made.recorded = steps[-1]
        build(made, wanted)

    monkeypatch.setattr(assembly, "_compile", build_recorded)
    assert execute(recorded, *options) == 0
    assert results_of(plain) == results_of(recorded)
    assert alike(state_of(plain), state_of(recorded))
    return steps[0]


class SGDOfOnesOwn(SGD):
    """It may do more."""


class TAGOfOnesOwn(TAG):
    """Likewise."""


def of_several_b(params: list[nn.Parameter], lr: float) -> TAG:
    return TAG([{"params": params[:1], "b": 1.0}, {"params": params[1:]}], lr=lr)


UPDATED = [  # whose updates are recorded
    "strategy=finetune optimizer=sgd_momentum",
    "strategy=finetune optimizer=tag_rmsprop",
    "strategy=finetune optimizer=tag_rmsprop optimizer.group=global",
    "strategy=finetune optimizer=tag_rmsprop optimizer.weights=age",
    "strategy=ewc optimizer=tag_adagrad",
    "strategy=lasem_hps optimizer=rmsprop_tf schedule=constant",
    "strategy=finetune optimizer=rmsprop_tf optimizer_lifetime=epoch",
]


@pytest.mark.parametrize("given", UPDATED)
def test_updates_are_replayed_that_are_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setattr(recorded, "SAME", 3)
    replays, replay = [], RecordedUpdates._replay

    def noted(self: RecordedUpdates, *what: Any) -> bool:
        replays.append(replay(self, *what))
        return replays[-1]

    monkeypatch.setattr(RecordedUpdates, "_replay", noted)
    recorded_and_computed(tmp_path, monkeypatch, *given.split())
    assert 5 < sum(replays) < len(replays)  # the first ones are computed


@pytest.mark.parametrize(
    "make",
    [
        Adam, RMSprop, SGDOfOnesOwn, TAGOfOnesOwn, of_several_b, partial(TAG, rule="adam"),
        partial(TAG, weights="gradients"),
    ],
)  # fmt: skip
def test_updates_that_count_steps_are_computed(make: Any) -> None:
    assert not updates_alike(make([nn.Parameter(torch.ones(2)) for _ in range(2)], lr=0.1))


def test_another_rate_makes_another_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an update that cannot be recorded is told."""
    monkeypatch.setattr(recorded, "SAME", 1)
    w, tapes = nn.Parameter(torch.ones(2)), list[Tape]()
    w.grad = torch.ones(2)
    optimizer = SGD([w], lr=0.25)

    def capture(work: Work) -> Work:
        tapes.append(Tape([w]))
        before = w.detach().clone()
        with tapes[-1]:
            work()
        w.data.copy_(before)  # as a graph, which does nothing while it is recorded
        return tapes[-1].replay

    RecordedUpdates(capture).over(optimizer, lambda: True)
    for rate, at in ((0.25, (0.75, 0.5, 0.25)), (0.5, (-0.25, -0.75, -1.25, -1.75, -2.25, -2.75))):
        optimizer.param_groups[0]["lr"] = rate
        for value in at:
            optimizer.step()
            assert w.tolist() == [value, value]
        assert len(tapes) == 1 + (rate == 0.5)

    def refuse(work: Work) -> Work:
        raise ValueError("this training step cannot be recorded")

    other = SGD([w], lr=0.25)
    RecordedUpdates(refuse).over(other, lambda: True)
    assert other.step(lambda: 7.0) == 7.0
    with pytest.raises(ValueError, match="cannot be recorded"):
        other.step()


def test_an_optimizer_is_gone_when_nobody_needs_it() -> None:
    """Its moments are large, and may lie on a GPU."""
    w = nn.Parameter(torch.ones(2))
    optimizer = SGD([w], lr=0.25)
    RecordedUpdates(lambda work: work).over(optimizer, lambda: False)
    LambdaLR(optimizer, lambda epoch: 1.0)
    w.grad = torch.ones(2)
    optimizer.step()
    kept = weakref.ref(optimizer)
    gc.disable()
    try:
        del optimizer
        assert kept() is None
    finally:
        gc.enable()

"""Networks trained: the optimizer's life, the schedule, counts, and what a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Set
from contextlib import nullcontext
from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lifelong.backbones.moving import Moving
from lifelong.data import Batch, Fed
from lifelong.networks import TaskNetwork
from lifelong.networks.divided import average_gradients, average_statistics, divided, world
from lifelong.optim.flatness import Flatness
from lifelong.optim.schedules import Schedule, constant
from lifelong.optim.several import Several
from lifelong.optim.task_optimizer import (
    Groups,
    Shelf,
    TaskOptimizer,
    extend,
    grouped,
    load_by_name,
    of_groups,
    reset_groups,
    same,
    state_by_name,
)
from lifelong.parts.held_mask import HeldMask
from lifelong.storage.checkpoint import LEARNED
from lifelong.strategies.answering import Answering
from lifelong.strategies.recorded import RecordedSteps
from lifelong.strategies.repeated import RepeatedStep, T

# Lightning's hooks of a batch: a method that has one of its own is handed batch after batch.
OF_A_BATCH = (
    "on_train_batch_start", "on_train_batch_end", "training_step", "on_before_zero_grad",
    "on_before_backward", "optimizer_step", "configure_gradient_clipping", "on_after_backward",
    "configure_callbacks", "configure_optimizers", "lr_scheduler_step",
    "on_before_batch_transfer", "on_after_batch_transfer", "transfer_batch_to_device",
)  # fmt: skip


COUNTED = ("epochs_trained", "steps_trained", "scheduled", "began", "round_steps", "method")


class Diverged(ArithmeticError):
    """Training went wrong beyond repair."""


MakeOptimizer = Callable[[Iterable[Tensor] | Iterable[dict[str, Any]]], Optimizer]
Lifetime = Literal["epoch", "task", "stream"]


class Learner(Answering):
    """A network that is trained, a round after the other.

    Args:
        network: learns the tasks.
        optimizer: makes an optimizer of parameters; a fresh one serves each round.
        schedule: factor on the learning rate by the epochs that it has gone through, in all tasks.

    Attributes:
        method: what the method reports (numbers, texts, lists, dicts); saved with the results.
        groups: options of the optimizer for parameters that have a word in their names; `rule`
            among them is another optimizer's name, see `Several`.
        lifetime: how long an optimizer's state lasts: an `epoch`, a `task` (each round begins
            anew), or the `stream`.
        lr_scale: a constant factor on the learning rate in the current round; None: the schedule.
        recorded: records and replays training steps; None: each is computed as it comes.
        flatness: changes the gradients of each step; it may pass the batch again.
        held: a mask whose zeros no step fills; None for none.
        capturable: whether a step does the same work on every batch of a kind, see `step_kind`, on
            tensors that stay where they are, and asks none for its values; then it may be recorded.
            It holds for a class that says so, not for those below it.
        divides: whether batches may be divided among processes: `training_loss` asks for gradients
            by name, if it does, within `lifelong.networks.divided.undivided` alone. It holds for a
            class that says so, not for those below it.
        epochs_trained, steps_trained: since the begin of the stream.
        first_epoch: of the round, from which a Trainer counts: 0 but in a run that goes on.
        round_steps: steps since the round began.
        still: modules that stay in evaluation mode while the others are trained.
        scheduled: epochs that the schedule has gone through.
        began: so many of these when the current task began.
    """

    capturable: ClassVar[bool] = False
    divides: ClassVar[bool] = False

    def __init__(
        self, network: TaskNetwork, optimizer: MakeOptimizer, schedule: Schedule = constant
    ) -> None:
        super().__init__(network)
        self.make_optimizer, self.schedule = optimizer, schedule
        self.method: dict[str, Any] = {}
        self.epochs_trained = self.steps_trained = self.scheduled = self.began = 0
        self.first_epoch = self.round_steps = 0
        self.still: list[nn.Module] = []
        self.lr_scale: float | None = None
        self.groups: Groups = {}
        self.lifetime: Lifetime = "task"
        self._optimizer: Optimizer | None = None
        self._shelf: Shelf | None = None  # of it
        self._goes_on = False  # whether it is that of a checkpoint inside a round
        self.recorded: RecordedSteps | None = None
        self.flatness: Flatness | None = None
        self.held: HeldMask | None = None
        self._repeated: RepeatedStep | None = None  # the step, while its batch is passed
        self._parts: list[nn.Module] = []  # in which a step may leave traces
        self._moving = Moving([])  # of the network, where several processes compute
        self._of_groups: dict[str | None, dict[str, Any]] = {}  # as the optimizer was made
        self._of_groups_then: dict[str | None, dict[str, Any]] = {}  # what it changed, before
        self._replayed = False  # whether the gradients of the step are in place already
        self._loss = torch.zeros(())

    def training_loss(self, batch: Batch, *_: Any, **feeds: Any) -> Tensor:
        """The loss of a training batch, a scalar."""
        raise NotImplementedError

    @property
    def takes_several(self) -> bool:
        """Whether a Trainer may hand it several batches at a time.

        Not where the class has another of those hooks that Lightning calls for every batch.
        """
        return all(getattr(type(self), name) is getattr(Learner, name) for name in OF_A_BATCH)

    @property
    def global_step(self) -> int:
        """Steps since the round began, also in a run that goes on."""
        return self.round_steps

    @property
    def current_epoch(self) -> int:
        """Of the round, from 0, also in a run that goes on."""
        return self.first_epoch + super().current_epoch

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.still:
            module.training = False
        return self

    def keep_still(self) -> None:
        """Notes which modules were left in evaluation mode, such as the copy that is a teacher.

        The method as a whole is trained, and its network, whatever their modes.
        """
        trained = set[nn.Module]() if self.network.training else {*self.network.modules()}
        if self.training:
            resting = (each for each in self.modules() if not each.training)
            self.still = [each for each in resting if each not in trained]

    def on_train_epoch_start(self) -> None:
        self._loss, self.epoch_steps = torch.zeros((), device=self.device), 0
        if isinstance(self._optimizer, TaskOptimizer):
            self._optimizer.begin_epoch()
        if self._optimizer is not None and self.lifetime == "epoch":
            self._optimizer.state.clear()
            reset_groups(self._optimizer, self._of_groups)
            if self.recorded is not None:
                self.recorded.updates.forget()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Of several batches all but the last are learned here, as a Trainer would."""
        if isinstance(batch, list):
            hook = self._current_fx_name
            for one in batch[:-1]:
                self._logs_of(one)
                self.optimizer.step(partial(self._gradient, one, batch_idx))  # type: ignore[arg-type]
                self._current_fx_name = "on_train_batch_end"  # by these names logs are kept apart
                self.after_step()
            self._logs_of(batch[-1])
            self._current_fx_name = hook

    def _logs_of(self, batch: Batch | Fed) -> None:
        """What is logged from now on is of this batch, by whose size a mean weights it."""
        results = self.trainer._results
        if results is not None:
            results.batch, results.batch_size = batch, None

    @torch.enable_grad()
    def _gradient(self, batch: Batch | Fed, batch_idx: int) -> Tensor:
        self._current_fx_name = "training_step"
        with self.trainer.precision_plugin.train_step_context():
            loss = self.training_step(batch, batch_idx)
        self.optimizer_zero_grad(self.current_epoch, batch_idx, self.optimizer)
        self.backward(loss)
        self.on_after_backward()
        self._current_fx_name = "on_before_optimizer_step"
        self.on_before_optimizer_step(self.optimizer)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.after_step()

    def after_step(self) -> None:
        """Called when a step has moved the weights."""

    def training_step(self, batch: Batch | Fed | list[Any], batch_idx: int) -> Tensor:
        last = batch[-1] if isinstance(batch, list) else batch
        whole = last if isinstance(last, Fed) else Fed(last, {})
        self._repeated = None if self.flatness is None else RepeatedStep(self._parts, whole)
        loss = self._replay(whole)
        if loss is None:
            with divided():
                loss = self.training_loss(whole.batch, **whole.feeds)
        if not isinstance(loss, Tensor):
            raise ValueError(
                f"strategy={type(self).__name__}: its training_loss gives a "
                f"{type(loss).__name__}; give the loss, a tensor of one number"
            )
        self._loss += loss.detach()
        self.steps_trained += 1
        self.round_steps += 1
        self.epoch_steps += 1
        return loss

    def once(self, compute: Callable[[], T]) -> T:
        """What a step computes in its first pass alone, see `flatness`: later ones are given it.

        Draws after it are those after it in the first pass.
        """
        return compute() if self._repeated is None else self._repeated.once(compute)

    def note(self, action: Callable[[], object]) -> None:
        """Carries out what a step remembers beside gradients, once whatever the passes of a step.

        Memories (`lifelong.Memory`) do so by themselves.
        """
        if self._repeated is None:
            action()
        else:
            self._repeated.notes.append(action)

    def _replay(self, whole: Fed) -> Tensor | None:
        """The loss of a step that is recorded; its gradients are in place then."""
        loss = None
        if self.recorded is not None and (kind := self.step_kind()) is not None:
            loss = self.recorded(
                whole,
                kind,
                lambda: [p for group in self.optimizer.param_groups for p in group["params"]],
                lambda fed: self.training_loss(fed.batch, **fed.feeds),
            )
        self._replayed = loss is not None
        return loss

    def step_kind(self) -> Hashable | None:
        """What decides, beside the shapes of a batch and its task, what a training step does.

        None for a step that cannot be recorded.
        """
        return ()

    def says(self, name: str) -> bool:
        """Whether its own class says that it is `capturable`, or `divides`."""
        return bool(vars(type(self)).get(name))

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        if not self._replayed:
            optimizer.zero_grad()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        if not self._replayed:
            loss.backward(*args, **kwargs)
        self._complete_gradients()

    def _complete_gradients(self) -> None:
        """Of all processes and passes; before hooks that a method may have of its own."""
        average_gradients(self.parameters())
        average_statistics(self._moving.moved())
        if self.flatness is not None and self._repeated is not None:
            groups = self.optimizer.param_groups
            moved = [p for group in groups for p in group["params"] if p.grad is not None]
            if moved:
                self.flatness(moved, self._pass_again)
            self._repeated.end()
            self._repeated = None

    def _pass_again(self) -> None:
        """Gradients of the step's batch anew."""
        assert self._repeated is not None
        whole, trainer = self._repeated.whole, self._trainer
        precision = None if trainer is None else trainer.precision_plugin
        self.optimizer.zero_grad()
        with self._repeated.again():
            context = nullcontext() if precision is None else precision.train_step_context()
            with context, divided():
                loss = self.training_loss(whole.batch, **whole.feeds)
            scaler = getattr(precision, "scaler", None)
            (loss if scaler is None else scaler.scale(loss)).backward()
        average_gradients(self.parameters())

    def on_train_epoch_end(self) -> None:
        self.epochs_trained += 1
        self.scheduled += self.lr_scale is None
        loss = float(self._loss) / self.epoch_steps
        if not math.isfinite(loss):
            raise Diverged(f"the training loss became {loss}; {self.divergence_hint()}")
        self.log("train/loss", loss)

    def divergence_hint(self) -> str:
        """What to try when the loss is no longer finite."""
        return "try a smaller lr"

    def configure_optimizers(self) -> Any:
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        if self._optimizer is None or (self.lifetime != "stream" and not self._goes_on):
            self._optimizer = self._made(trained)
        else:
            if self._shelf is not None:
                self._shelf.open()
            extend(self._optimizer, trained, self.groups)
            self._of_groups = of_groups(self._optimizer) | self._of_groups
        self._goes_on = False
        self._parts = list(self.modules()) if self.flatness is not None else []
        self._moving = Moving(self.network.modules() if world() > 1 else [])
        if self.held is not None:
            self.held.begin()
        if self.recorded is not None:
            self.recorded.forget()
        self._shelf = Shelf(self._optimizer, {id(p) for p in self.idle_parameters()})
        for group in self._optimizer.param_groups:  # the schedule counts from the stream's begin
            group["lr"] = group.get("initial_lr", group["lr"])
        first = self.scheduled
        lr_scale = self.lr_scale
        scheduler = LambdaLR(
            self._optimizer,
            lambda epoch: self.schedule(first + epoch) if lr_scale is None else lr_scale,
        )
        return {"optimizer": self._optimizer, "lr_scheduler": scheduler}

    def idle_parameters(self) -> list[nn.Parameter]:
        """Parameters that no batch of the round gives a gradient."""
        return []

    def _made(self, named: Mapping[str, nn.Parameter]) -> Optimizer:
        """A new optimizer of some parameters."""
        several = any("rule" in options for options in self.groups.values())
        if several:
            made: Optimizer = Several(grouped(named, self.groups), self.make_optimizer)
        elif self.groups:
            made = self.make_optimizer(grouped(named, self.groups))
        else:
            made = self.make_optimizer(list(named.values()))
        if self.held is not None:
            self.held.over(made)
        elif self.recorded is not None and self.flatness is None:
            self.recorded.updates.over(made, lambda: self._replayed)
        self._of_groups = of_groups(made)
        return made

    @property
    def optimizer(self) -> Optimizer:
        """That of the current round."""
        if self._optimizer is None:
            raise RuntimeError("there is an optimizer from the first round on")
        return self._optimizer

    @property
    def idle(self) -> Set[int]:
        """Identities of the parameters that it passes over in this round."""
        return frozenset[int]() if self._shelf is None else self._shelf.idle

    def lr_of(self, p: nn.Parameter) -> float:
        """The learning rate of a parameter that is trained, as it is now."""
        groups = self.optimizer.param_groups
        whole = [group["params"] for group in groups] if self._shelf is None else self._shelf.whole
        others = zip(groups[1:], whole[1:], strict=True)
        own = (group for group, params in others if any(p is each for each in params))
        return float(next(own, groups[0])["lr"])

    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state by parameter name."""
        if self._optimizer is None:
            return {}
        if self._shelf is not None:
            self._shelf.open()
        found = state_by_name(self._optimizer, dict(self.named_parameters()))
        if self._shelf is not None:
            self._shelf.shut()
        return found

    def take_optimizer(self, states: dict[str, Any] | None) -> None:
        """Goes on with the optimizer of a checkpoint, see `optimizer_state`.

        It has the parameters of then in their order, those that are frozen now among them: tasks
        that end count for their state, too.
        """
        named = dict(self.named_parameters())
        known = {name: named[name] for name in states or {} if name in named}
        if states and known:
            self._optimizer, self._shelf = self._made(known), None
            load_by_name(self._optimizer, known, states)
            for group in self._optimizer.param_groups:
                group.update(self._of_groups_then.get(group.get("part"), {}))
            self._goes_on = True

    @property
    def grown(self) -> tuple[str, ...]:
        """See `TaskOptimizer.grown`."""
        return self._optimizer.grown if isinstance(self._optimizer, TaskOptimizer) else ()

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """See `torch.nn.Module`; with it the method's own counts, under `LEARNED`."""
        found: dict[str, Any] = super().state_dict(*args, **kwargs)
        found[LEARNED] = {name: getattr(self, name) for name in COUNTED} | {
            "groups": self._changed_in_groups(),
            "buffers": [name for name, _ in self.named_buffers() if name in found],
            "frozen": [name for name, p in self.named_parameters() if not p.requires_grad],
        }
        return found

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """See `torch.nn.Module`.

        Buffers that were made, or have grown, while it learned are made so, and frozen is what was.
        """
        state = dict(state_dict)
        learned = state.pop(LEARNED, {})
        for name in state.keys() & set(learned.get("buffers", ())):
            self._make_buffer(name, state[name])
        found = super().load_state_dict(state, strict, assign)
        for name in learned.keys() & set(COUNTED):
            setattr(self, name, learned[name])
        self._of_groups_then = learned.get("groups", self._of_groups_then)
        if "frozen" in learned:
            for name, p in self.named_parameters():
                p.requires_grad_(name not in learned["frozen"])
        return found

    def _make_buffer(self, name: str, value: Tensor) -> None:
        """Makes room for one, unless there is such a buffer; its module must be there."""
        path, _, own = name.rpartition(".")
        try:
            module = self.get_submodule(path)
        except AttributeError:
            return  # which loading tells
        there = module._buffers.get(own)
        like = there is not None and there.shape == value.shape and there.dtype == value.dtype
        if not like and own not in module._parameters:
            vars(module).pop(own, None)
            module.register_buffer(own, torch.empty_like(value, device=self.device))

    def _changed_in_groups(self) -> dict[str | None, dict[str, Any]]:
        """What the optimizer itself has put into its groups, such as a count of its steps."""
        now = {} if self._optimizer is None else of_groups(self._optimizer)
        made = self._of_groups
        found = {
            part: {k: v for k, v in own.items() if not same(made.get(part, {}).get(k), v)}
            for part, own in now.items()
        }
        return {part: changed for part, changed in found.items() if changed}

    def get_extra_state(self) -> dict[str, Any]:
        return {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        for name in state.keys() & set(COUNTED):  # of earlier versions, as the groups
            setattr(self, name, state[name])
        self._of_groups_then = state.get("groups", self._of_groups_then)

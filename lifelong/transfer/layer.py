"""A layer in two forms: from knowledge that all tasks share, or with weights of the task's own."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lifelong.backbones import Layer, Unit
from lifelong.backbones.containers import ByName
from lifelong.networks.network import count


class TransferLayer(nn.Module):
    """Layer l of a network that shares: slot S_l, mappings M_{t,l}, private weights K_{t,l}.

    Where it has several slots, the others are layers of the same kind, of which slot and mappings
    are used alone.

    A kind of sharing is a subclass that says what a slot holds, what a mapping holds, and what
    weights the two give: `make_shared`, `make_mapping`, `shared_weight`; and their types, by
    annotations of `shared_params` and `mapping`.

    Args:
        layer: the layer, or block, of the body; its shape is used, and its drawing of weights.
        number: of the layer in the body, from 0.

    Raises:
        ValueError: a block, where the kind needs the weight and bias of a layer.
    """

    shared_params: nn.Module
    mapping: ByName[Any]
    weighs_penalty = True  # whether a search weighs `penalty` by the layer's share

    def __init__(self, layer: Unit, number: int) -> None:
        super().__init__()
        self.skip = layer.skip
        self._template = (layer,)  # in a tuple: not a submodule
        self.shared_params = self.make_shared()
        self.in_use = False  # whether a finished task uses the slot
        self.private: ByName[Unit] = ByName()
        self.mapping = ByName()
        self.before: nn.Module | None = None  # the slot as it was before a search
        self.others = nn.ModuleList()  # slots 2, 3, ...

    @property
    def unit(self) -> Unit:
        """The layer or block of the body."""
        return self._template[0]

    @property
    def template(self) -> Layer:
        """The layer, where the kind shares weights of one."""
        if not isinstance(self.unit, Layer):
            raise ValueError(
                f"kind: {type(self).__name__} shares the weights of layers, and this backbone is "
                "shared block by block; give kind=hps, or a backbone such as conv4"
            )
        return self.unit

    def make_shared(self) -> nn.Module:
        """New shared knowledge S_l."""
        raise NotImplementedError

    def make_mapping(self) -> nn.Module:
        """New mapping M_{t,l} of a task; without parameters where a kind needs none."""
        return nn.Module()

    def shared_weight(self, task: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of the layer for `task`, from slot and mapping."""
        raise NotImplementedError

    def penalty(self, task: int) -> Tensor | None:
        """What the shared form adds to the loss of `task`; None for nothing."""
        return None

    def shared_map(self, x: Tensor, task: int) -> Tensor:
        """The map of the shared form."""
        return self.template.linear(x, *self.shared_weight(task))

    def add_slots(self, others: Sequence[TransferLayer]) -> None:
        """Gives the layer more shared forms."""
        self.others.extend(others)

    def all_slots(self) -> list[TransferLayer]:
        """The layers that hold slots 1, 2, ...; this one holds the first."""
        return [self, *(own for own in self.others if isinstance(own, TransferLayer))]

    def slot(self, number: int) -> TransferLayer:
        """The layer that holds a slot."""
        return self if number == 1 else cast(TransferLayer, self.others[number - 2])

    def map(self, x: Tensor, task: int, form: int) -> Tensor:
        """The map of the layer for `task` in one of its forms: 0 its own, or a slot's number."""
        return self.slot(form).shared_map(x, task) if form else self.private[str(task)].map(x)

    def activate(self, z: Tensor, skip: Tensor | None) -> Tensor:
        return self.unit.activate(z, skip)

    def add_task(self, task: int, forms: Iterable[int]) -> None:
        """Makes what `task` needs for the forms it may take, and freezes the rest.

        A slot that no task uses is drawn anew when a task may use it.
        """
        forms = set(forms)
        for number, own in enumerate(self.all_slots(), 1):
            own.offer(task, number in forms, number == 1 and 0 in forms, len(forms) > 1)

    def offer(self, task: int, shared: bool, private: bool, search: bool) -> None:
        """The same for one slot, and the task's own weights."""
        key = str(task)
        if shared:
            if not self.in_use:
                self.shared_params = self.make_shared()
            if key not in self.mapping:
                self.mapping[key] = self.make_mapping()
        if private and key not in self.private:
            self.private[key] = self.unit.reinitialized()
        self.train_only(task)
        self.before = (
            copy.deepcopy(self.shared_params).requires_grad_(False) if shared and search else None
        )

    def train_only(self, task: int) -> None:
        """Freezes all but what `task` holds, and the slot if the task may use it."""
        for store in (self.private, self.mapping):
            for key, own in store.items():
                own.requires_grad_(key == str(task))
        self.shared_params.requires_grad_(str(task) in self.mapping)

    def commit(self, task: int, form: int) -> None:
        """Ends a task that takes one form: puts back slots it does not use, drops the rest."""
        for number, own in enumerate(self.all_slots(), 1):
            if own.before is not None and form != number:
                own.shared_params = own.before
            own.before = None
            own.in_use = own.in_use or form == number
        self.prune_unused_forms(task, form)

    def complete(self, task: int) -> None:
        """Gives a task that holds one form the other as well, with the same weights, frozen."""
        key = str(task)
        if key not in self.private:
            self.private[key] = self.made_private(task).requires_grad_(False)
        elif key not in self.mapping:
            self.set_shared(self.private[key])
            self.mapping[key] = self.make_mapping().requires_grad_(False)

    def made_private(self, task: int) -> Unit:
        """A layer with the weights of the shared form."""
        own = self.template.reinitialized()
        with torch.no_grad():
            for to, value in zip((own.weight, own.bias), self.shared_weight(task), strict=True):
                to.copy_(value)
        return own

    def set_shared(self, own: Unit) -> None:
        """Makes the slot hold the weights of a private layer; not every kind of sharing can."""
        raise NotImplementedError

    def prune_unused_forms(self, task: int, form: int) -> None:
        """Drops what `task` holds for the other forms."""
        unused: list[ByName[Any]] = [self.private] if form else []
        unused += [own.mapping for number, own in enumerate(self.all_slots(), 1) if number != form]
        for dropped in unused:
            if str(task) in dropped:
                del dropped[str(task)]

    def size(self) -> int:
        """Parameters kept: those of slots in use, of mappings and of private weights."""
        kept = [*self.private.values(), *self.mapping.values()]
        if self.in_use:
            kept.append(self.shared_params)
        return count(*kept) + sum(own.size() for own in self.all_slots()[1:])

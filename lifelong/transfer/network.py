"""A network whose layers are shared or private, task by task (LASEM, ICML 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lifelong.backbones import Unit
from lifelong.backbones.backbone import flat
from lifelong.networks import TaskNetwork
from lifelong.networks.divided import spread
from lifelong.networks.network import MakeBackbone, MakeHeads, count
from lifelong.transfer.config import Pattern, TransferConfig, config_of, pattern_code
from lifelong.transfer.layer import TransferLayer
from lifelong.transfer.tree import Level, PrefixTree

Kind = Callable[[Unit, int], TransferLayer]


class TransferNetwork(TaskNetwork):
    """A body of transfer layers, and heads; heads and all weights of earlier tasks are frozen.

    With one candidate configuration every task takes it. With several, a new task holds both forms
    of each layer until `commit` decides.

    Args:
        backbone: makes the body whose layers, or blocks, are shared.
        heads: makes the heads for a number of features.
        kind: makes a transfer layer of a layer and its number.
        pattern: candidate configurations for a depth.

    Attributes:
        candidates: the candidate configurations.
        configs: what each task takes; of a task in search, the choice so far.
        slots: shared forms of each layer.
    """

    def __init__(
        self, backbone: MakeBackbone, heads: MakeHeads, kind: Kind, pattern: Pattern
    ) -> None:
        super().__init__()
        body = backbone()
        self.prefix = body.prefix()
        units = body.units(backbone)
        self.layers = nn.ModuleList(kind(unit, n) for n, unit in enumerate(units))
        self.heads = heads(body.features)
        self.candidates = pattern(len(self.layers))
        self.num_candidates = len(self.candidates)
        self.slots = max(1, *(form for config in self.candidates for form in config))
        for number, (layer, unit) in enumerate(zip(self.transfer_layers(), units, strict=True)):
            layer.add_slots([kind(unit, number) for _ in range(self.slots - 1)])
        self.disjoint_outputs = self.heads.disjoint_outputs
        self.tree = PrefixTree(self.candidates)
        self.configs: dict[int, TransferConfig] = {}
        self.undecided: set[int] = set()  # tasks that hold both forms of a layer
        self.current = 0  # the task that was added last

    def transfer_layers(self) -> list[TransferLayer]:
        return [layer for layer in self.layers if isinstance(layer, TransferLayer)]

    @property
    def searching(self) -> bool:
        """Whether the configuration of the current task is still open."""
        return self.current in self.undecided

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        """Makes what a new task needs; a known task goes on in its configuration."""
        self.current, known = task, task in self.configs
        for layer in self.transfer_layers():
            layer.unit.restart()
        if not known:
            self.configs[task] = self.candidates[0]
            if len(self.candidates) > 1:
                self.undecided.add(task)
        options = [self.configs[task]] if known else self.candidates
        for layer, forms in zip(self.transfer_layers(), zip(*options, strict=True), strict=True):
            layer.add_task(task, forms)
        self.heads.requires_grad_(False)
        self.heads.add_task(task, classes)
        self.heads.head_for(task).requires_grad_()
        if not self.searching:
            self.commit(task, self.configs[task])

    def commit(self, task: int, config: TransferConfig) -> None:
        """Decides the configuration of `task`: drops what it does not use, rolls back slots."""
        self.configs[task] = config
        self.undecided.discard(task)
        for layer, form in zip(self.transfer_layers(), config, strict=True):
            layer.commit(task, form)

    def reenable_candidates(self, task: int) -> None:
        """Gives a finished task both forms of every layer, with the same weights."""
        self.undecided.add(task)
        for layer in self.transfer_layers():
            layer.complete(task)

    def set_config(self, task: int, config: TransferConfig) -> None:
        """Decides anew on the configuration of an earlier task that was opened again."""
        self.configs[task] = config
        self.undecided.discard(task)
        for number, layer in enumerate(self.transfer_layers()):
            layer.prune_unused_forms(task, config[number])
            for slot, own in enumerate(layer.all_slots(), 1):
                own.in_use = any(other[number] == slot for other in self.configs.values())

    def logits(self, x: Tensor, task: int) -> Tensor:
        scores: Tensor = self.heads(self.features(x, task, self.configs[task]), task)
        return scores

    def begin(self, x: Tensor) -> Tensor:
        """What the first of the layers is given: images, or what a frozen begin makes of them."""
        return x if self.prefix is None else self.prefix(x)

    def features(self, x: Tensor, task: int, config: Sequence[int]) -> Tensor:
        """Features of a batch under one configuration, (b, f)."""
        return spread(lambda part: self._features(part, task, config), x)

    def _features(self, x: Tensor, task: int, config: Sequence[int]) -> Tensor:
        outputs, x = list[Tensor](), self.begin(x)
        for layer, form in zip(self.transfer_layers(), config, strict=True):
            skip = None if layer.skip is None else outputs[layer.skip]
            x = layer.activate(layer.map(x, task, form), skip)
            outputs.append(x)
        return flat(x)

    def tree_features(self, x: Tensor, task: int, tree: PrefixTree | None = None) -> Tensor:
        """Features of a batch under all candidates, (c b, f), block i under candidate i.

        Prefixes that candidates have in common are computed once: one map for each form of a layer.

        Args:
            x: (b, c, h, w).
            task: which holds both forms of the layers.
            tree: of other configurations than all candidates.
        """
        chosen = tree or self.tree
        count = len(chosen.configs)
        return spread(lambda part: self._tree_features(part, task, chosen), x, count)

    def _tree_features(self, x: Tensor, task: int, tree: PrefixTree) -> Tensor:
        size = len(x)
        outputs, x = list[Tensor](), self.begin(x)
        for number, (layer, level) in enumerate(
            zip(self.transfer_layers(), tree.levels, strict=True)
        ):
            skip = None
            if layer.skip is not None:
                skip = blocks_of(outputs[layer.skip], tree.ancestors(number, layer.skip), size)
            x = _branch(layer, level, x, task, skip, size)
            outputs.append(x)
        return flat(blocks_of(x, tree.order, size))

    def penalty(self, task: int) -> Tensor | float:
        total: Tensor | float = 0.0
        for slot in range(1, self.slots + 1):
            shares = [float(form == slot) for form in self.configs[task]]
            total = total + self.weighted_penalty(task, shares, slot)
        return total

    def weighted_penalty(
        self, task: int, shares: Sequence[float] | Tensor, slot: int = 1
    ) -> Tensor | float:
        """Sum over layers of the penalty of a shared form times the share of it, (d,).

        A kind whose penalty is not weighed counts whole wherever the form may be taken.
        """
        total: Tensor | float = 0.0
        for layer, share in zip(self.transfer_layers(), shares, strict=True):
            if not isinstance(share, float) or share:
                penalty = layer.slot(slot).penalty(task)
                if penalty is not None:
                    total = total + (share * penalty if layer.weighs_penalty else penalty)
        return total

    def size(self) -> int:
        """Parameters kept: slots in use, mappings and private weights that are used, heads."""
        layers = sum(layer.size() for layer in self.transfer_layers())
        return count(self.heads) + layers + self._prefix_size()

    def single_size(self, task: int) -> int:
        bodies = [layer.unit for layer in self.transfer_layers()]
        return count(self.heads.head_for(task), *bodies) + self._prefix_size()

    def _prefix_size(self) -> int:
        return 0 if self.prefix is None else count(self.prefix)

    def get_extra_state(self) -> dict[str, Any]:
        """What decides which parameters there are."""
        return {
            "configs": {task: pattern_code(config) for task, config in self.configs.items()},
            "undecided": sorted(self.undecided),
            "occupied": [layer.in_use for layer in self.transfer_layers()],
            "others": [[own.in_use for own in layer.others] for layer in self.transfer_layers()],
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Brings the structure, made by replaying `add_task`, to that of the saved network."""
        self.undecided = set(state["undecided"])
        for task, figures in state["configs"].items():
            self.configs[task] = config_of(figures)
            if task not in self.undecided:
                for layer, form in zip(self.transfer_layers(), self.configs[task], strict=True):
                    layer.prune_unused_forms(task, form)
        others = state.get("others", [[]] * len(self.layers))
        for layer, first, more in zip(
            self.transfer_layers(), state["occupied"], others, strict=True
        ):
            for own, in_use in zip(layer.all_slots(), [first, *more], strict=True):
                own.in_use = in_use
                own.train_only(self.current)
                if not self.searching:
                    own.before = None


def blocks_of(x: Tensor, blocks: Sequence[int] | None, size: int) -> Tensor:
    """The named blocks of `size` rows each; all of x if None."""
    if blocks is None:
        return x
    return torch.cat([x[block * size : (block + 1) * size] for block in blocks])


def _branch(
    layer: TransferLayer, level: Level, x: Tensor, task: int, skip: Tensor | None, size: int
) -> Tensor:
    """One layer for all prefixes, form after form."""
    parts = []
    for form, parents in level.children:
        given = blocks_of(x, parents, size)
        if layer.unit.by_batch:
            own = [layer.map(part, task, form) for part in given.split(size)]
            parts.append(torch.cat(own))
        else:
            parts.append(layer.map(given, task, form))
    rows = [len(part) for part in parts]
    skips = [None] * len(parts) if skip is None else list(skip.split(rows))
    done = [layer.activate(part, own) for part, own in zip(parts, skips, strict=True)]
    return done[0] if len(done) == 1 else torch.cat(done)

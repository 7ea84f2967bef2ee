"""Networks that know tasks: a plain one, and one of its own for every task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from lifelong.backbones import Body
from lifelong.backbones.containers import ByName
from lifelong.networks.divided import divide
from lifelong.networks.heads import Heads, by_task

MakeBackbone = Callable[[], Body]
MakeHeads = Callable[[int], Heads]


class TaskNetwork(nn.Module):
    """A network that learns tasks one after the other.

    A subclass says how one task's logits come about; batches of mixed tasks are done here.

    Attributes:
        num_candidates: configurations among which a method must choose for each task; 1 for none.
        disjoint_outputs: whether the logits of different tasks stand for different classes.
        one_pass: whether one pass through a body answers for all tasks.
        shared_outputs: whether the same output weights answer for all tasks, see `Heads`.

    >>> import torch
    >>> class Mean(TaskNetwork):
    ...     def add_task(self, task, classes):
    ...         self.classes = len(classes)
    ...     def logits(self, x, task):
    ...         return x.mean((1, 2, 3))[:, None].expand(-1, self.classes)
    >>> network = Mean()
    >>> network.add_task(0, [0, 1])
    >>> network(torch.zeros(3, 1, 8, 8), torch.zeros(3).long()).shape
    torch.Size([3, 2])
    """

    num_candidates = 1
    disjoint_outputs = True
    one_pass = False
    shared_outputs = False

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        """Makes what a new task needs; nothing for a task that is known.

        Args:
            task: index of it.
            classes: class number of each of its labels.
        """
        raise NotImplementedError

    def own_parameters(self, task: int) -> list[nn.Parameter]:
        """Parameters of the heads that get a gradient from images of `task` alone."""
        heads = getattr(self, "heads", None)
        return heads.own_parameters(task) if isinstance(heads, Heads) else []

    def logits(self, x: Tensor, task: int) -> Tensor:  # (b, c, h, w) -> (b, k)
        """Class scores under one task."""
        raise NotImplementedError

    def all_logits(self, x: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        """Scores of the classes of each of several tasks, every one (b, k)."""
        return [self.logits(x, task) for task in tasks]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Class scores of a batch whose images belong to the tasks `t` (b,), on the CPU.

        The columns beyond a task's classes are -inf where the tasks have unequally many.
        """
        return by_task(self.logits, x, t)

    def supports_class_incremental(self, classes: Iterable[tuple[int, ...]]) -> bool:
        """Whether tasks of these class numbers can be answered without the task given."""
        return self.disjoint_outputs or len(set(classes)) == 1

    def penalty(self, task: int) -> Tensor | float:
        """What the network's own regularisers add to the loss of `task`."""
        return 0.0

    def size(self) -> int:
        """Parameters needed to answer for all tasks learned so far."""
        return count(self)

    def single_size(self, task: int) -> int:
        """Parameters of a plain network for `task` alone."""
        raise NotImplementedError


def count(*modules: nn.Module) -> int:
    """Parameters of modules."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


class Network(TaskNetwork):
    """One body for all tasks, and heads.

    Args:
        backbone: makes the body.
        heads: makes the heads for a number of features.

    >>> import torch
    >>> from functools import partial
    >>> from lifelong import MultiHead, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> network.add_task(0, [0, 1, 2])
    >>> network.logits(torch.zeros(4, 1, 8, 8), 0).shape
    torch.Size([4, 3])
    """

    one_pass = True

    def __init__(self, backbone: MakeBackbone, heads: MakeHeads) -> None:
        super().__init__()
        self.body = backbone()
        divide(self.body)
        self.heads = heads(self.body.features)
        self.disjoint_outputs, self.shared_outputs = (
            self.heads.disjoint_outputs,
            self.heads.shared_outputs,
        )

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        self.heads.add_task(task, classes)

    def logits(self, x: Tensor, task: int) -> Tensor:
        scores: Tensor = self.heads(self.body(x), task)
        return scores

    def all_logits(self, x: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        features = self.body(x)  # (b, f), once for all tasks
        return self.heads.task_scores(features, tasks)

    def single_size(self, task: int) -> int:
        return count(self.body, self.heads.head_for(task))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.heads.of_tasks(self.body(x), t)  # one pass, whatever the tasks of the batch


class Independent(TaskNetwork):
    """A network of its own for every task: nothing is shared, nothing forgotten.

    Args:
        backbone: makes a body.
        heads: makes heads for a number of features.

    >>> import torch
    >>> from functools import partial
    >>> from lifelong import MultiHead, mlp
    >>> network = Independent(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> network.add_task(0, [0, 1])
    >>> network.logits(torch.zeros(4, 1, 8, 8), 0).shape
    torch.Size([4, 2])
    """

    def __init__(self, backbone: MakeBackbone, heads: MakeHeads) -> None:
        super().__init__()
        self.backbone, self.heads = backbone, heads
        self.networks: ByName[Network] = ByName()

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        if str(task) not in self.networks:
            self.networks[str(task)] = Network(self.backbone, self.heads)
            self._network(task).add_task(task, classes)
        for key, network in self.networks.items():
            network.requires_grad_(key == str(task))
            self._network(int(key)).body.freeze()

    def _network(self, task: int) -> Network:
        return self.networks[str(task)]

    def logits(self, x: Tensor, task: int) -> Tensor:
        return self._network(task).logits(x, task)

    def single_size(self, task: int) -> int:
        return self._network(task).single_size(task)

"""Methods that learn prompts for a vision transformer that stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch, Visit
from lifelong.measures import Prediction
from lifelong.networks import Network, by_task
from lifelong.networks.divided import spread
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.token_prompts import Prefix, blocks_of_tokens, prompts_beside
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Strategy


class Prompts(NamedTuple):
    """What images see beside their own tokens.

    Attributes:
        match: how far each image is from the keys of its prompts, (b,).
        tokens: see `lifelong.parts.token_prompts.prompts_beside`.
        prefixes: likewise.

    >>> import torch
    >>> from lifelong import Prompts
    >>> Prompts(torch.zeros(2)).prefixes
    {}
    """

    match: Tensor
    tokens: Tensor | None = None
    prefixes: Mapping[int, Prefix] = {}


class Prompting(Strategy):
    """A method says in `prompts` what an image sees, given the query that the body makes of it.

    The query is the feature without prompts; body and prompts of earlier tasks stay. In training
    the classes of a task are told apart among themselves.

    Args:
        network: whose body is a vision transformer.
        optimizer: see `Strategy`; serves prompts, their keys, and heads.
        schedule: see `Strategy`.

    Attributes:
        blocks: of the body.
        width: d, length of a token.
        pull: weight of the distance to the keys in the loss.

    Raises:
        ValueError: another body.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import IncrementalHead, Network, Prompting, Prompts
    >>> from lifelong.backbones import Timm
    >>> class Without(Prompting):
    ...     def prompts(self, query, task):
    ...         return Prompts(query.new_zeros(len(query)))
    >>> body = partial(Timm, (1, 8, 8), "test_vit", options={"patch_size": 4})
    >>> method = Without(Network(body, IncrementalHead), partial(SGD, lr=0.1))
    >>> len(method.blocks), method.width
    (6, 64)
    """

    network: Network
    pull: float = 0.0
    answers_with_body: ClassVar[bool] = False
    refuses: Mapping[str, str] = {
        **Strategy.refuses,
        "blurry": "a batch has the prompts of one task",
        "compile": "it puts prompts into the body",
    }
    divides: ClassVar[bool] = True

    def __init__(
        self, network: Network, optimizer: MakeOptimizer, schedule: Schedule = constant
    ) -> None:
        super().__init__(network, optimizer, schedule)
        name = type(self).__name__.lower()
        self.blocks, self.width = blocks_of_tokens(network.body, name)

    def prompts(self, query: Tensor, task: int | None) -> Prompts:
        """What images see.

        Args:
            query: (b, f).
            task: the task of all of them; None: not known.
        """
        raise NotImplementedError

    def prompt_penalty(self) -> Tensor | float:
        """What prompts themselves add to the loss."""
        return 0.0

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self.network.body.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.network.body.eval()
        return self

    def prompted(self, x: Tensor, task: int | None) -> tuple[Tensor, Tensor]:
        """Features of images with their prompts (b, f), and how far the keys are (b,)."""
        whole = spread(partial(self._prompted, task=task), x)
        return whole[:, :-1], whole[:, -1]

    def _prompted(self, x: Tensor, task: int | None) -> Tensor:
        with torch.no_grad():
            query = self.network.body(x)
        seen = self.prompts(query, task)
        with prompts_beside(self.blocks, seen.tokens, seen.prefixes):
            features = self.network.body(x)
        return torch.cat([features, seen.match[:, None].to(features.dtype)], 1)

    def training_loss(self, batch: Batch) -> Tensor:
        features, match = self.prompted(batch.x, self.current)
        scores = self.network.heads(features, self.current)[:, : len(self.classes[self.current])]
        loss = F.cross_entropy(scores, batch.y) + self.penalty(batch.t)
        return loss + self.pull * match.mean() + self.prompt_penalty()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        def scores(rows: Tensor, task: int) -> Tensor:
            found: Tensor = self.network.heads(self.prompted(rows, task)[0], task)
            return found

        return by_task(scores, x, t)

    def predict(self, x: Tensor, t: Tensor | None = None) -> Prediction:
        if t is not None:
            return super().predict(x, t)
        tasks = self.candidate_tasks()
        features, _ = self.prompted(x, None)
        return self._among(self.network.heads.task_scores(features, tasks), tasks)

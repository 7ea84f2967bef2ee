"""Lifelong architecture search via EM.

Paper: Lee, Behpour, Eaton, "Sharing Less is More: Lifelong Learning in Deep Networks with Selective
Layer Transfer", ICML 2021 (PMLR 139:6065-6075). The authors' released program departs from it in
the likelihood and the prior; `em` selects either, and the paper's is the default.

Departures from the released program:
- one pass through the body serves the E-step and the M-step (dropout stands only behind the body),
  and prefixes that configurations have in common are computed once;
- likelihoods are kept as logarithms, so the product of probabilities cannot underflow;
- a task that is visited again trains on in its configuration (the program stops there).
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.measures.history import append_downsampled
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.architecture_search import ArchitectureSearch
from lifelong.strategies.learner import MakeOptimizer
from lifelong.transfer import TransferConfig, TransferNetwork
from lifelong.transfer.config import pattern_code
from lifelong.transfer.posterior import (
    ActiveConfigurations,
    ConfigurationPrior,
    Likelihood,
    Narrowing,
    PriorRule,
)

PRESETS: dict[str, tuple[Likelihood, PriorRule]] = {
    "paper": ("product", "count"),
    "release": ("mean", "running_mean"),
}

if TYPE_CHECKING:
    from lifelong.drawing import Drawings, Results


class LASEMOptions(TypedDict, total=False):
    """Options of `LASEM` that every method takes that stands on it."""

    em: Literal["paper", "release"]
    likelihood: Likelihood | None
    prior: PriorRule | None
    pseudo_count: float
    reset_prior_each_epoch: bool
    fixed: str | int | None
    fixed_probability: float
    narrowing: Narrowing


class LASEM(ArchitectureSearch):
    """Learns with each task which layers it shares (selective layer transfer).

    Every mini-batch: E-step, the posterior over configurations from the prior and the likelihood of
    the batch under each; M-step, a step on the posterior-weighted loss; then the prior is updated.
    At the end of a task the configuration with the highest prior is kept.

    Args:
        network: a transfer network with the candidate configurations.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        em: preset of likelihood and prior, `paper` or `release`.
        likelihood: of a batch: `product` of the images' probabilities, their `mean`, or
            `geometric_mean`; null for the preset's.
        prior: `count` of batches won, `running_mean` of posteriors, or `fixed`; null for the
            preset's.
        pseudo_count: added to each count.
        reset_prior_each_epoch: counts or means begin anew in every epoch.
        fixed: with `prior=fixed`, the configuration that has `fixed_probability` in prior and
            posterior alike, e.g. 1100.
        fixed_probability: the others share the rest equally.
        narrowing: what is left out to be cheaper, see `Narrowing`; by default nothing, so that all
            configurations are evaluated on every batch.

    >>> import torch
    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import LASEM, MultiHead, convnet
    >>> from lifelong.transfer import HardTransferLayer, TransferNetwork, every
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> network = TransferNetwork(body, MultiHead, HardTransferLayer, every)
    >>> method = LASEM(network, partial(SGD, lr=0.1))
    >>> method.method["configurations"]
    ['11', '01', '10', '00']
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> method.begin_task(visit)
    >>> loss = method.training_loss(visit.train[torch.arange(32)])
    >>> method.prior.counts.sum()
    tensor(1.)
    """

    acts_with: ClassVar[dict[str, str]] = {
        "em": "prior=null or likelihood=null and prior!=fixed",
        "likelihood": "prior!=fixed",
        "pseudo_count": "prior=count or prior=null and em=paper",
        "reset_prior_each_epoch": "prior!=fixed",
        "fixed": "prior=fixed",
        "fixed_probability": "prior=fixed",
    }

    capturable: ClassVar[bool] = True
    divides: ClassVar[bool] = True
    sharing: Tensor

    def __init__(
        self,
        network: TransferNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        em: Literal["paper", "release"] = "paper",
        likelihood: Likelihood | None = None,
        prior: PriorRule | None = None,
        pseudo_count: float = 1.0,
        reset_prior_each_epoch: bool = False,
        fixed: str | int | None = None,
        fixed_probability: float = 0.9,
        narrowing: Narrowing = Narrowing(),  # noqa: B008 - it never changes
    ) -> None:
        super().__init__(network, optimizer, schedule)
        rule, candidates = prior or PRESETS[em][1], network.candidates
        if narrowing and rule == "fixed":
            key = "below" if narrowing.below else "commit_after"
            raise ValueError(
                f"strategy.narrowing.{key}={getattr(narrowing, key)}: with strategy.prior=fixed no "
                "configuration becomes unlikely; leave it at 0"
            )
        self.prior = ConfigurationPrior(
            candidates, likelihood or PRESETS[em][0], rule, pseudo_count, fixed, fixed_probability
        )
        self.active = ActiveConfigurations(candidates, network.tree, narrowing)
        self.reset_each_epoch = reset_prior_each_epoch
        slots = torch.arange(1, network.slots + 1)[:, None, None]
        sharing = (torch.tensor(candidates) == slots).float()  # (k, c, d)
        self.register_buffer("sharing", sharing, persistent=False)
        self.method |= {
            "likelihood": self.prior.likelihood,
            "prior": rule,
            "configurations": [pattern_code(config) for config in candidates],
            "tasks": {},
        }

    @staticmethod
    def drawings(results: Results) -> Drawings:
        """See `Strategy.drawings`."""
        from lifelong.strategies.lasem_figures import drawings

        return ArchitectureSearch.drawings(results) | drawings(results)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self.prior.restart()
        self.active.restart()

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.prior.entropy.zero_()
        self.active.begin_epoch()
        if self.network.searching and self.reset_each_epoch:
            self.prior.restart()

    def step_kind(self) -> Hashable | None:
        if not self.network.searching:
            return ()
        return tuple(self.active.tree.configs) if self.active.decided else None

    def training_loss(self, batch: Batch) -> Tensor:
        if not self.network.searching:
            return super().training_loss(batch)
        heads, task = self.network.heads, self._task
        rows, number = self.active.rows, len(self.active.tree.configs)
        features = self.network.tree_features(batch.x, task, self.active.tree)  # (c b, f)
        labels = batch.y.repeat(number)  # (c b,)
        posterior = self.once(partial(self._posterior, features, labels))
        loss = F.cross_entropy(heads(features, task), labels, reduction="none")
        self.note(partial(self.active.update, posterior))
        self.note(partial(self.prior.update, posterior))
        loss = posterior[rows] @ loss.view(number, -1).mean(1)
        for slot, sharing in enumerate(self.sharing, 1):
            # shares (d,): Pr_q(c_l = slot)
            loss = loss + self.network.weighted_penalty(task, posterior @ sharing, slot)
        return loss

    @torch.no_grad()
    def _posterior(self, features: Tensor, labels: Tensor) -> Tensor:
        """Over all configurations (c,), from features of the active ones (E-step)."""
        heads, rows = self.network.heads, self.active.rows
        heads.eval()  # no dropout
        nll = F.cross_entropy(heads(features, self._task), labels, reduction="none")
        heads.train()
        found = torch.zeros_like(self.prior.pi)
        found[rows] = self.prior.posterior(-nll.view(len(self.active.tree.configs), -1), rows)
        return found

    def choice(self) -> TransferConfig:
        """The configuration with the highest prior; of equals the first."""
        return self.network.candidates[self.prior.best()]

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if not self.network.searching:
            return
        spread, batches = self.prior.entropy
        mean_entropy = spread / batches.clamp(min=1)
        self.active.end_epoch(self.prior.pi)
        self.log("lasem/entropy", mean_entropy)
        self.log("lasem/highest_prior", self.prior.pi.max())
        report = self.report()
        append_downsampled(
            report,
            epoch=report.get("seen", 0) + 1,
            prior=[round(value, 6) for value in self.prior.pi.tolist()],
            entropy=round(float(mean_entropy), 6),
        )

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        if self.network.searching:
            self.report()["final_prior"] = self.prior.pi.tolist()
        super().end_task(visit, loader)

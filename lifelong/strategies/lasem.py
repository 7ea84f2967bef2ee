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

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.measures.history import append_downsampled
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.search import Search
from lifelong.transfer import PrefixTree, TransferConfig, TransferNetwork
from lifelong.transfer.config import pattern_code

Likelihood = Literal["product", "mean", "geometric_mean"]
Prior = Literal["count", "running_mean", "fixed"]
PRESETS: dict[str, tuple[Likelihood, Prior]] = {
    "paper": ("product", "count"),
    "release": ("mean", "running_mean"),
}

if TYPE_CHECKING:
    from lifelong.drawing import Drawings, Results


class LASEM(Search):
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
        prune_below: configurations whose posteriors sum to less than this are left out, in [0, 1).
            Which those are is asked anew with the first batch of every epoch, of that batch and of
            the epoch before. 0 evaluates all configurations on every batch.
    """

    acts_with: ClassVar[dict[str, str]] = {
        "em": "prior=null or likelihood=null and prior!=fixed",
        "likelihood": "prior!=fixed",
        "pseudo_count": "prior=count or prior=null and em=paper",
        "reset_prior_each_epoch": "prior!=fixed",
        "fixed": "prior=fixed",
        "fixed_probability": "prior=fixed",
    }

    prior: Tensor
    counts: Tensor
    entropy: Tensor
    sharing: Tensor
    recent: Tensor

    def __init__(
        self,
        network: TransferNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        em: Literal["paper", "release"] = "paper",
        likelihood: Likelihood | None = None,
        prior: Prior | None = None,
        pseudo_count: float = 1.0,
        reset_prior_each_epoch: bool = False,
        fixed: str | int | None = None,
        fixed_probability: float = 0.9,
        prune_below: float = 0.0,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        self.likelihood, self.prior_rule = likelihood or PRESETS[em][0], prior or PRESETS[em][1]
        self.pseudo_count, self.reset_each_epoch = pseudo_count, reset_prior_each_epoch
        if pseudo_count <= 0:
            raise ValueError(f"strategy.pseudo_count={pseudo_count}: give a number above 0")
        if not 0 <= prune_below < 1:
            raise ValueError(f"strategy.prune_below={prune_below}: give 0, or a share below 1")
        if prune_below and self.prior_rule == "fixed":
            raise ValueError(
                f"strategy.prune_below={prune_below}: with strategy.prior=fixed no configuration "
                "becomes unlikely; leave it at 0"
            )
        self.prune_below = prune_below
        number = len(network.candidates)
        self._fixed = torch.full((number,), 1 / number)
        if self.prior_rule == "fixed":
            self._fixed = self._fixed_prior(fixed, fixed_probability)
        self.method = {
            "likelihood": self.likelihood,
            "prior": self.prior_rule,
            "configurations": [pattern_code(config) for config in network.candidates],
            "tasks": {},
        }
        self.register_buffer("prior", self._fixed.clone())  # (c,) pi
        self.register_buffer("counts", torch.zeros(number))  # (c,) batches won, or sum of q
        sharing = torch.tensor(network.candidates, dtype=torch.float32)  # (c, d)
        self.register_buffer("sharing", sharing, persistent=False)
        self.register_buffer("entropy", torch.zeros(2))  # of the posteriors of an epoch: sum, n
        self.register_buffer("recent", torch.zeros(number + 1))  # their sum (c,), and their number
        self._evaluate_all()

    def _fixed_prior(self, fixed: str | int | None, probability: float) -> Tensor:
        candidates = self.network.candidates
        names = [pattern_code(candidate) for candidate in candidates]
        fixed = str(fixed)  # Hydra takes 1100 for a number
        if fixed not in names:
            raise ValueError(
                f"strategy.fixed={fixed}: with strategy.prior=fixed give one of the "
                f"{len(names)} configurations, such as {names[0]}"
            )
        if not 1 / len(candidates) < probability <= 1:
            raise ValueError(
                f"strategy.fixed_probability={probability}: give a share above "
                f"{1 / len(candidates):g}, the others' equal part, at most 1"
            )
        config = candidates[names.index(fixed)]
        rest = (1 - probability) / max(len(candidates) - 1, 1)
        values = [probability if candidate == config else rest for candidate in candidates]
        return torch.tensor(values)

    @staticmethod
    def drawings(results: Results) -> Drawings:
        """See `Strategy.drawings`."""
        from lifelong.strategies.lasem_figures import drawings

        return Search.drawings(results) | drawings(results)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self._restart()
        self.recent.zero_()

    def _restart(self) -> None:
        self.prior.copy_(self._fixed)
        self.counts.zero_()

    def _evaluate_all(self) -> None:
        self._tree, self._decided = self.network.tree, False
        self._active: Tensor | slice = slice(None)

    def _prune(self, posterior: Tensor) -> None:
        """Leaves out what neither this batch nor the epoch before found likely."""
        self._decided = True
        batches = float(self.recent[-1])
        if batches > 0:
            likely = torch.maximum(posterior, self.recent[:-1] / batches)  # (c,)
            ascending, order = likely.sort()
            active = order[ascending.cumsum(0) >= self.prune_below].sort().values
            if len(active) < len(self._tree.configs):
                candidates = self.network.candidates
                self._tree = PrefixTree([candidates[index] for index in active.tolist()])
                self._active = active
        self.recent.zero_()

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.entropy.zero_()
        self._evaluate_all()
        if self.searching and self.reset_each_epoch:
            self._restart()

    def training_loss(self, batch: Batch) -> Tensor:
        if not self.searching:
            return super().training_loss(batch)
        heads, task = self.network.heads, self._task
        active, number = self._active, len(self._tree.configs)
        features = self.network.tree_features(batch.x, self._task, self._tree)  # (c b, f)
        labels = batch.y.repeat(number)  # (c b,)
        with torch.no_grad():
            heads.eval()  # no dropout in the E-step
            nll = F.cross_entropy(heads(features, task), labels, reduction="none")
            heads.train()
            posterior = torch.zeros_like(self.prior)
            posterior[active] = self.posterior(-nll.view(number, -1), active)
        loss = F.cross_entropy(heads(features, task), labels, reduction="none")
        if self.prune_below and not self._decided:
            self._prune(posterior)
        self.update_prior(posterior)
        shares = posterior @ self.sharing  # (d,): Pr_q(c_l = 1)
        penalty = self.network.weighted_penalty(self._task, shares)
        return posterior[active] @ loss.view(number, -1).mean(1) + penalty

    def posterior(self, log_p: Tensor, active: Tensor | slice = slice(None)) -> Tensor:
        """q(c) of the `active` configurations, from log-probabilities (c, b): the E-step."""
        if self.prior_rule == "fixed":
            return self.prior[active]
        return posterior(self.prior[active], log_p, self.likelihood)

    def update_prior(self, posterior: Tensor) -> None:
        """pi(c) after a batch; the posteriors' entropy is kept for the record."""
        self.recent[:-1] += posterior
        self.recent[-1] += 1
        self.entropy += torch.stack(
            [torch.special.entr(posterior).sum(), self.entropy.new_ones(())]
        )
        if self.prior_rule == "count":
            self.counts += first_max(posterior)
            weights = self.counts + self.pseudo_count
            self.prior.copy_(weights / weights.sum())
        elif self.prior_rule == "running_mean":
            self.counts += posterior
            self.prior.copy_(self.counts / self.counts.sum())

    def choice(self) -> TransferConfig:
        """The configuration with the highest prior; of equals the first."""
        return self.network.candidates[int(first_max(self.prior).argmax())]

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if not self.searching:
            return
        mean_entropy = self.entropy[0] / self.entropy[1].clamp(min=1)
        self.log("lasem/entropy", mean_entropy)
        self.log("lasem/highest_prior", self.prior.max())
        report = self.report()
        append_downsampled(
            report,
            epoch=report.get("seen", 0) + 1,
            prior=[round(value, 6) for value in self.prior.tolist()],
            entropy=round(float(mean_entropy), 6),
        )

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        if self.searching:
            self.report()["final_prior"] = self.prior.tolist()
        super().end_task(visit, loader)


def posterior(prior: Tensor, log_p: Tensor, likelihood: Likelihood) -> Tensor:
    """q(c) = pi(c) L(c) / sum over c' of pi(c') L(c').

    Args:
        prior: pi, (c,).
        log_p: log-probabilities of the true classes, (c, b).
        likelihood: how the images' probabilities make the batch likelihood L(c).

    Returns:
        q, (c,). Finite for any probabilities above zero, as all is done in logarithms. A prior that
        underflowed to zero counts as the smallest number: else its configuration never came back.
    """
    batch = log_p.shape[1]
    log_likelihood = {
        "product": lambda: log_p.sum(1),
        "mean": lambda: log_p.logsumexp(1) - math.log(batch),
        "geometric_mean": lambda: log_p.mean(1),
    }[likelihood]()
    least = torch.finfo(prior.dtype).tiny
    return torch.softmax(prior.clamp(min=least).log() + log_likelihood, 0)


def first_max(values: Tensor) -> Tensor:
    """1 at the highest value, 0 elsewhere; of equal ones the first (`argmax` promises none)."""
    highest = (values == values.max()).to(values.dtype)
    return highest * (highest.cumsum(0) == 1)

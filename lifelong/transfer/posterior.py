"""How likely configurations are: their prior, and the posterior that a mini-batch gives (LASEM).

Lee, Behpour, Eaton, "Sharing Less is More: Lifelong Learning in Deep Networks with Selective Layer
Transfer", ICML 2021, algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from lifelong.transfer.config import TransferConfig, pattern_code
from lifelong.transfer.tree import PrefixTree

Likelihood = Literal["product", "mean", "geometric_mean"]
PriorRule = Literal["count", "running_mean", "fixed"]


class ConfigurationPrior(nn.Module):
    """The probabilities pi of configurations while a task is learned.

    Args:
        candidates: the configurations, c of them.
        likelihood: of a batch, see `LASEM`.
        rule: how pi follows from the posteriors: `count`, `running_mean` or `fixed`.
        pseudo_count: added to each count.
        fixed: with `rule=fixed`, the configuration that has `fixed_probability`, e.g. 1100.
        fixed_probability: the others share the rest equally.

    Attributes:
        pi: (c,).
        counts: batches won, or the sum of posteriors, (c,).
        entropy: of the posteriors of an epoch, their sum and number, (2,).

    Raises:
        ValueError: a value out of range.
    """

    pi: Tensor
    counts: Tensor
    entropy: Tensor
    start: Tensor

    def __init__(
        self,
        candidates: Sequence[TransferConfig],
        likelihood: Likelihood,
        rule: PriorRule,
        pseudo_count: float,
        fixed: str | int | None,
        fixed_probability: float,
    ) -> None:
        super().__init__()
        if pseudo_count <= 0:
            raise ValueError(f"strategy.pseudo_count={pseudo_count}: give a number above 0")
        self.likelihood, self.rule, self.pseudo_count = likelihood, rule, pseudo_count
        number = len(candidates)
        start = torch.full((number,), 1 / number)
        if rule == "fixed":
            start = fixed_prior(candidates, str(fixed), fixed_probability)
        self.register_buffer("start", start, persistent=False)
        self.register_buffer("pi", start.clone())
        self.register_buffer("counts", torch.zeros(number))
        self.register_buffer("entropy", torch.zeros(2))

    def restart(self) -> None:
        """Begins anew."""
        self.pi.copy_(self.start)
        self.counts.zero_()

    def posterior(self, log_p: Tensor, active: Tensor | slice = slice(None)) -> Tensor:
        """Q of the `active` configurations, from log-probabilities (c, b): the E-step."""
        if self.rule == "fixed":
            return self.pi[active]
        return posterior(self.pi[active], log_p, self.likelihood)

    def update(self, q: Tensor) -> None:
        """Pi after a batch with the posterior q, (c,); its entropy is noted."""
        spread = torch.special.entr(q).sum()
        self.entropy += torch.stack([spread, self.entropy.new_ones(())])
        if self.rule == "count":
            self.counts += first_max(q)
            weights = self.counts + self.pseudo_count
            self.pi.copy_(weights / weights.sum())
        elif self.rule == "running_mean":
            self.counts += q
            self.pi.copy_(self.counts / self.counts.sum())

    def best(self) -> int:
        """The number of the most likely configuration; of equals the first."""
        return int(first_max(self.pi).argmax())


@dataclass(frozen=True)
class Narrowing:
    """What a search leaves out, to be cheaper; by default nothing.

    Attributes:
        below: configurations whose posteriors sum to less than this are left out, in [0, 1). Which
            those are is asked with the first batch of an epoch, of it and of what came before.
        recheck: it is asked anew after one epoch; as long as the answer stays the same, after 2, 4,
            8, .. epochs, at most this many.
        commit_after: epochs in a row at whose ends the same configuration has a prior above
            `commit_above`; after them the task goes on with it alone. 0: never.
        commit_above: see there.

    Raises:
        ValueError: a value out of range.
    """

    acts_with: ClassVar[dict[str, str]] = {
        "recheck": "below!=0|0.0",
        "commit_above": "commit_after!=0",
    }

    below: float = 0.0
    recheck: int = 1
    commit_after: int = 0
    commit_above: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.below < 1:
            raise ValueError(f"strategy.narrowing.below={self.below}: give 0, or a share below 1")
        if self.recheck < 1:
            raise ValueError(f"strategy.narrowing.recheck={self.recheck}: give epochs, 1 or more")
        if self.commit_after < 0:
            raise ValueError(
                f"strategy.narrowing.commit_after={self.commit_after}: give epochs, or 0 for never"
            )
        if not 0 < self.commit_above < 1:
            raise ValueError(
                f"strategy.narrowing.commit_above={self.commit_above}: give a share between 0 and 1"
            )

    def __bool__(self) -> bool:
        return bool(self.below or self.commit_after)


class ActiveConfigurations(nn.Module):
    """The configurations that an epoch evaluates: all, or those that are not unlikely.

    Args:
        candidates: the configurations, c of them.
        tree: of all of them.
        narrowing: what is left out.
    """

    recent: Tensor
    kept: Tensor
    waits: Tensor
    held: Tensor

    def __init__(
        self, candidates: Sequence[TransferConfig], tree: PrefixTree, narrowing: Narrowing
    ) -> None:
        super().__init__()
        self.candidates, self.whole, self.narrowing = candidates, tree, narrowing
        self.register_buffer("recent", torch.zeros(len(candidates) + 1))  # sum of q; batches
        if narrowing:
            self.register_buffer("kept", torch.ones(len(candidates), dtype=torch.bool))
            self.register_buffer("waits", torch.zeros(2, dtype=torch.long))  # epochs: left, in all
            self.register_buffer("held", torch.zeros(2, dtype=torch.long))  # winner, its epochs
        self.begin_epoch()

    def restart(self) -> None:
        """Begins anew, with all."""
        self.recent.zero_()
        if self.narrowing:
            self.kept.fill_(True)
            self.waits.zero_()
            self.held.zero_()

    @property
    def committed(self) -> bool:
        """Whether one configuration goes on alone."""
        after = self.narrowing.commit_after
        return bool(after) and int(self.held[1]) >= after

    def begin_epoch(self) -> None:
        """Evaluates what the epochs before left; or all, until the first batch has decided."""
        self.tree = self.whole
        self.rows: Tensor | slice = slice(None)
        self.decided = not self.narrowing.below
        if self.committed:
            self._keep(self.held[:1])
        elif self.narrowing.below and int(self.waits[0]):
            self.waits[0] -= 1
            self._keep(self.kept.nonzero()[:, 0])

    def _keep(self, rows: Tensor) -> None:
        self.decided = True
        if len(rows) < len(self.candidates):
            self.tree = PrefixTree([self.candidates[index] for index in rows.tolist()])
            self.rows = rows

    def update(self, q: Tensor) -> None:
        """Takes the posterior of a batch, (c,)."""
        if not self.decided:
            self.decide(q)
        self.recent[:-1] += q
        self.recent[-1] += 1

    def decide(self, q: Tensor) -> None:
        """Leaves out what neither this batch nor those since it was last asked found likely."""
        self.decided = True
        batches = float(self.recent[-1])
        if batches > 0:
            likely = torch.maximum(q, self.recent[:-1] / batches)  # (c,)
            ascending, order = likely.sort()
            likely_enough = ascending.cumsum(0) >= self.narrowing.below
            likely_enough[-1] = True  # one at least, whatever rounding makes of their sum
            rows = order[likely_enough].sort().values
            self._keep(rows)
            self._wait(rows)
        self.recent.zero_()

    def _wait(self, rows: Tensor) -> None:
        """Asks later where the answer has stayed the same."""
        now = torch.zeros_like(self.kept)
        now[rows] = True
        same = torch.equal(now, self.kept)
        longer = min(2 * int(self.waits[1]), self.narrowing.recheck)
        self.waits[1] = max(longer, 1) if same else 1
        self.waits[0] = max(int(self.waits[1]) - 1, 0)
        self.kept.copy_(now)

    def end_epoch(self, pi: Tensor) -> None:
        """Counts the epochs in which one configuration is ahead, by the prior at the end, (c,)."""
        if not self.narrowing.commit_after or self.committed:
            return
        winner = int(first_max(pi).argmax())
        if float(pi[winner]) <= self.narrowing.commit_above:
            self.held.zero_()
            return
        epochs = int(self.held[1]) if int(self.held[0]) == winner else 0
        self.held.copy_(torch.tensor([winner, epochs + 1]))


def fixed_prior(candidates: Sequence[TransferConfig], fixed: str, probability: float) -> Tensor:
    """One configuration has a probability, the others share the rest, (c,).

    Raises:
        ValueError: no such configuration, or a probability that is not above the others'.
    """
    names = [pattern_code(candidate) for candidate in candidates]
    if fixed not in names:
        raise ValueError(
            f"strategy.fixed={fixed}: with strategy.prior=fixed give one of the {len(names)} "
            f"configurations, such as {names[0]}"
        )
    if not 1 / len(candidates) < probability <= 1:
        raise ValueError(
            f"strategy.fixed_probability={probability}: give a share above "
            f"{1 / len(candidates):g}, the others' equal part, at most 1"
        )
    rest = (1 - probability) / max(len(candidates) - 1, 1)
    return torch.tensor([probability if name == fixed else rest for name in names])


def posterior(prior: Tensor, log_p: Tensor, likelihood: Likelihood) -> Tensor:
    """q(c) = pi(c) L(c) / sum over c' of pi(c') L(c').

    Args:
        prior: pi, (c,).
        log_p: log-probabilities of the true classes, (c, b).
        likelihood: how the images' probabilities make the batch likelihood L(c).

    Returns:
        q, (c,). Finite for any probabilities above zero, as all is done in logarithms. A prior that
        underflowed to zero counts as the smallest number: else its configuration never came back.

    >>> log_p = torch.tensor([[0.9, 0.8], [0.3, 0.4]]).log()
    >>> posterior(torch.tensor([0.5, 0.5]), log_p, "product")
    tensor([0.8571, 0.1429])
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

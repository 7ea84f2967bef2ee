"""Batches divided among processes; each place is taken in turn by this one process."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from lifelong.backbones.moving import Moving
from lifelong.networks import divided

SIZE = 5  # images: three for one process, two for the other


class Body(nn.Module):
    def __init__(self, noise: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        return self.noise(x.flatten(1))


def after(noise: Callable[[Tensor], Tensor], by: str, rank: int | None = None) -> tuple[int, int]:
    """What all draw after a batch, and what this process drew in it, as numbers."""
    body, x = Body(noise), torch.ones(SIZE, 1, 4, 4)
    torch.manual_seed(1)
    with pytest.MonkeyPatch.context() as patch:
        if rank is not None:
            patch.setattr(divided, "world", lambda: 2)
            patch.setattr(dist, "get_rank", lambda: rank)
            patch.setattr(dist, "all_reduce", lambda part: None)
        divided.divide(body)
        with divided.divided():
            found = body(x) if by == "hook" else divided.spread(body, x)
    own = found[:2] if rank != 1 else found[-2:]
    return int(torch.randint(2**62, ())), hash(tuple(own.flatten().tolist()))


@pytest.mark.parametrize("by", ["hook", "spread"])
@pytest.mark.parametrize(
    "noise",
    [
        nn.Dropout(0.5), lambda x: F.dropout(x, 0.5), StochasticDepth(0.5, "row"),
        lambda x: x + torch.randn_like(x), lambda x: x * torch.rand(()),
    ],
)  # fmt: skip
def test_whatever_draws_each_draws_its_own_and_all_go_on_alike(
    noise: Callable[[Tensor], Tensor], by: str
) -> None:
    (one, first), (other, second) = (after(noise, by, rank) for rank in (0, 1))
    assert one == other
    assert isinstance(noise, StochasticDepth) or first != second
    assert one != after(lambda x: x, by, 0)[0]  # the next batch draws anew


@pytest.mark.parametrize("by", ["hook", "spread"])
@pytest.mark.parametrize("noise", [nn.Dropout(0.5).eval(), nn.Dropout(0.0), lambda x: x + 1])
def test_what_does_not_draw_leaves_the_draws_as_they_are_in_one_process(
    noise: Callable[[Tensor], Tensor], by: str
) -> None:
    assert {after(noise, by, rank)[0] for rank in (0, 1, None)} == {after(noise, by)[0]}


def test_what_a_process_did_not_reach_has_no_gradient_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other process reached the second map alone, this one the first; nobody the third."""
    maps = [nn.Linear(2, 2, bias=False) for _ in range(3)]
    maps[0].weight.grad = torch.ones(2, 2)
    sent = []

    def exchanged(own: Tensor) -> None:
        sent.append(own.clone())
        own += (
            torch.tensor([0.0, 1.0, 0.0])
            if len(sent) == 1
            else torch.tensor([0.0, 2.0])[torch.arange(2).repeat_interleave(4)]
        )

    monkeypatch.setattr(divided, "world", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", exchanged)
    divided.average_gradients([each.weight for each in maps])
    assert torch.equal(maps[0].weight.grad, torch.full((2, 2), 0.5))
    assert torch.equal(maps[1].weight.grad, torch.ones(2, 2))  # type: ignore[arg-type]
    assert maps[2].weight.grad is None


def test_numbers_of_numpy_and_python_go_on_from_batch_to_batch() -> None:
    """As PyTorch's do: other ones in each process, and after it the same in all."""

    def drawn(x: Tensor) -> Tensor:
        return x + np.random.rand() + random.random()  # noqa: NPY002

    found = [after(drawn, "hook", rank) for rank in (0, 1)]
    assert found[0][0] == found[1][0] != after(lambda x: x, "hook", 0)[0]
    assert found[0][1] != found[1][1]


class Means(nn.Module):
    """Running means of its own, written to or made anew."""

    def __init__(self, anew: bool) -> None:
        super().__init__()
        self.anew = anew
        self.register_buffer("running_mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        mean = 0.9 * self.running_mean + 0.1 * x.mean((0, 2)).detach()
        if self.anew:
            self.running_mean = mean
        else:
            self.running_mean.copy_(mean)
        return x - self.running_mean[:, None]


NORMS: list[nn.Module] = [
    nn.BatchNorm1d(3),
    nn.InstanceNorm1d(3, track_running_stats=True),
    Means(False),
    Means(True),
]


@pytest.mark.parametrize("norm", NORMS)
def test_running_statistics_are_the_mean_of_all_parts(
    norm: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the other process are zeros here."""
    still = nn.BatchNorm1d(3)
    moving = Moving(nn.Sequential(norm, still).modules())
    norm(torch.randn(5, 3, 4))
    own = norm.get_buffer("running_mean").clone()
    monkeypatch.setattr(divided, "world", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda total: None)
    divided.average_statistics(moving.moved())
    assert torch.equal(norm.get_buffer("running_mean"), own / 2)
    assert torch.equal(still.running_var, torch.ones(3))  # type: ignore[arg-type]

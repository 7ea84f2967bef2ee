"""SAM and C-Flat by hand, and as a step of a method that remembers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lifelong import (
    AGEM,
    DERPP,
    ER,
    GEM,
    MIR,
    SAM,
    CFlat,
    Flatness,
    MultiHead,
    Network,
    by_class,
    mlp,
)
from lifelong.data import Batch, Fed
from lifelong.data.sources import digits
from lifelong.parts.memory import RingBuffer
from lifelong.strategies.repeated import RepeatedStep
from lifelong.transfer.posterior import ConfigurationPrior
from tests.conftest import execute, results_of

torch.manual_seed(0)
A = torch.randn(4, 4, dtype=torch.float64)
A = A @ A.T + torch.eye(4, dtype=torch.float64)  # of the loss w'Aw/2 + sum w^4


def slope(w: torch.Tensor) -> torch.Tensor:
    return A @ w + 4 * w**3


def two_parts(w: torch.Tensor) -> tuple[list[nn.Parameter], Any]:
    params = [nn.Parameter(w[:1].clone()), nn.Parameter(w[1:].clone())]

    def again() -> None:
        found = slope(torch.cat([p.detach() for p in params]))
        params[0].grad, params[1].grad = found[:1], found[1:]

    again()
    return params, again


def gradient(params: list[nn.Parameter]) -> torch.Tensor:
    return torch.cat([p.grad for p in params if p.grad is not None])


W = torch.tensor([0.5, -1.0, 2.0, 0.1], dtype=torch.float64)


def test_sam_takes_the_gradient_at_the_steepest_point_nearby() -> None:
    params, again = two_parts(W)
    SAM(rho=0.3)(params, again)
    g = slope(W)
    torch.testing.assert_close(gradient(params), slope(W + 0.3 * g / g.norm()), rtol=1e-12, atol=0)
    assert torch.equal(torch.cat([p.data for p in params]), W)


def test_adaptive_sam_scales_with_the_weights() -> None:
    params, again = two_parts(W)
    SAM(rho=0.3, adaptive=True)(params, again)
    g = slope(W)
    moved = W + 0.3 * W**2 * g / (W.abs() * g).norm()
    torch.testing.assert_close(gradient(params), slope(moved), rtol=1e-12, atol=0)


def test_c_flat_by_its_algorithm() -> None:
    params, again = two_parts(W)
    CFlat(rho=0.1, strength=0.4)(params, again)
    first = slope(W)
    near = slope(W + 0.1 * first / first.norm())
    rise = near - first
    place = W + 0.1 * rise / rise.norm()
    steep = slope(place)
    beyond = slope(place + 0.1 * steep / steep.norm())
    wanted = near + 0.4 * (beyond - steep)
    torch.testing.assert_close(gradient(params), wanted, rtol=1e-12, atol=0)
    assert torch.equal(torch.cat([p.data for p in params]), W)


def test_c_flat_without_strength_is_sam() -> None:
    (a, again), (b, once) = two_parts(W), two_parts(W)
    CFlat(rho=0.2, strength=0.0)(a, again)
    SAM(rho=0.2)(b, once)
    assert torch.equal(gradient(a), gradient(b))


@pytest.mark.parametrize("make", [partial(SAM, rho=0.0), partial(CFlat, rho=-1.0),
                                  partial(CFlat, strength=-0.1)])  # fmt: skip
def test_values_out_of_range(make: Any) -> None:
    with pytest.raises(ValueError, match="flatness"):
        make()


class Same(Flatness):
    """Asks for the gradients at the same weights, and notes by how much they differ."""

    passes = 3

    def __init__(self) -> None:
        self.differences: list[float] = []

    def change(self, params: Any, again: Any) -> None:
        before = [p.grad.clone() for p in params]
        for _ in range(2):
            again()
            pairs = zip(before, params, strict=True)
            self.differences.append(max(float((g - p.grad).abs().max()) for g, p in pairs))


def made(kind: Any, **options: Any) -> Any:
    torch.manual_seed(3)
    network = Network(partial(mlp, (1, 8, 8), [16], dropout=0.3), MultiHead)
    return kind(network, partial(torch.optim.SGD, lr=0.1), **options)


def stepped(method: Any, steps: int = 5) -> Any:
    """A few steps of two visits, as Lightning makes them."""
    stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=16)
    torch.manual_seed(4)
    for visit in stream.visits[:2]:
        method.begin_task(visit)
        method.configure_optimizers()
        method.on_train_epoch_start()
        for number in range(steps):
            batch = visit.train[torch.arange(16) + 16 * number]
            loss = method.training_step(batch, number)
            method.optimizer.zero_grad()
            loss.backward()
            method._complete_gradients()
            method.optimizer.step()
    return method


@pytest.mark.parametrize("kind", [
    partial(ER, memory=30), partial(DERPP, memory=30), partial(AGEM, per_class=3),
    partial(GEM, per_class=3), partial(MIR, memory=30, candidates=20),
])  # fmt: skip
def test_later_passes_find_the_memory_and_the_draws_of_the_first(kind: Any) -> None:
    method = made(kind)
    method.flatness = Same()
    stepped(method)
    assert len(method.flatness.differences) == 20
    assert max(method.flatness.differences) == 0
    assert (method.memory.seen, method.steps_trained) == (160, 10)
    assert len(method.memory) == (6 if isinstance(method.memory, RingBuffer) else 30)


def test_a_rule_that_changes_nothing_leaves_memory_and_weights_as_without() -> None:
    plain, passed = made(partial(ER, memory=40)), made(partial(ER, memory=40))
    passed.flatness = Same()
    stepped(plain), stepped(passed)
    assert torch.equal(plain.memory.rows, passed.memory.rows)
    for a, b in zip(plain.parameters(), passed.parameters(), strict=True):
        assert torch.equal(a, b)


class Counts(nn.Module):
    """Counts its batches and keeps the last one's mean, made anew."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.mean = x.mean().detach()
        return x


NORMS: list[nn.Module] = [
    nn.BatchNorm1d(3),
    nn.InstanceNorm1d(3, track_running_stats=True),
    Counts(),
    nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)),
]


@pytest.mark.parametrize("norm", NORMS)
def test_running_statistics_are_of_the_first_pass_alone(norm: nn.Module) -> None:
    rows = torch.zeros(2).long()
    step = RepeatedStep([norm], Fed(Batch(torch.zeros(2, 1), rows, rows, rows), {}))
    norm(torch.randn(5, 3, 4))
    before = [b.clone() for b in norm.buffers()]
    with step.again():
        norm(torch.randn(5, 3, 4))
    step.end()
    assert all(torch.equal(a, b) for a, b in zip(before, norm.buffers(), strict=True))


def test_mir_chooses_by_the_first_pass() -> None:
    """At weights that are changed it would choose others."""
    method, found = made(partial(MIR, memory=60, candidates=40)), []
    method.flatness = SAM(rho=2.0)
    choose = method.rehearsed
    method.rehearsed = lambda batch: found.append(choose(batch)) or found[-1]
    stepped(method)
    pairs = list(zip(found[::2], found[1::2], strict=True))
    assert pairs
    assert all(torch.equal(a.x, b.x) for a, b in pairs if len(a.y))


def test_references_are_those_at_the_weights_themselves() -> None:
    """A-GEM's of a step with two more passes is that of a step without."""
    plain, passed = made(partial(AGEM, per_class=3)), made(partial(AGEM, per_class=3))
    passed.flatness = SAM(rho=0.5)
    found = []
    for method in (plain, passed):
        stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=16)
        for visit in stream.visits[:2]:
            torch.manual_seed(1)
            method.begin_task(visit)
            method.configure_optimizers()
            method.on_train_epoch_start()
            method.training_step(visit.train[torch.arange(16)], 0).backward()
            method._complete_gradients()
        found.append(method._reference)
    assert found[0] is not None
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)


@pytest.mark.parametrize("choice", ["optimizer=sam flatness=cflat", "strategy=ncm flatness=sam"])
def test_what_does_not_go_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], choice: str
) -> None:
    assert execute(tmp_path, *QUICK, *choice.split()) == 2
    assert "flatness=" in capsys.readouterr().err


QUICK = ["data=digits", "data.fraction=0.3", "tasks=2", "epochs=2", "batch_size=16", "logger=none"]
QUICK += ["trainer=cpu"]


@pytest.mark.parametrize("choice", [
    "strategy=finetune optimizer=sam", "strategy=finetune optimizer=cflat",
    "strategy=er optimizer=tag_rmsprop flatness=sam", "strategy=lasem_hps flatness=cflat",
    "strategy=si flatness=sam", "strategy=agem flatness=sam trainer.precision=bf16-mixed",
    "strategy=hat flatness=sam", "strategy=icarl heads=incremental flatness=sam",
    "strategy=ncm strategy.adapt_first=true flatness=sam",
])  # fmt: skip
def test_any_method_and_rule(tmp_path: Path, choice: str) -> None:
    options = [*QUICK, *choice.split()]
    assert execute(tmp_path, *options, "costs=true") == 0
    results = results_of(tmp_path)
    passes = 4 if "cflat" in choice else 2
    assert results["multiply_adds"]["training_step"] % passes == 0
    assert results["status"] == "finished"


def test_the_posterior_of_a_step_is_that_of_its_first_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ask = ConfigurationPrior.posterior
    monkeypatch.setattr(
        ConfigurationPrior, "posterior", lambda self, *given: asked.append(1) or ask(self, *given)
    )
    counts = []
    for number, flatness in enumerate(([], ["flatness=sam"])):
        asked.clear()
        assert execute(tmp_path / str(number), *QUICK, "strategy=lasem_hps", *flatness) == 0
        counts.append(len(asked))
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("strategy", ["lasem_hps", "gem", "darts_hps"])
def test_what_a_method_notes_it_notes_once_a_step(tmp_path: Path, strategy: str) -> None:
    options = [*QUICK, f"strategy={strategy}"]
    same = "+flatness._target_=tests.optim.test_flatness.Same"
    assert execute(tmp_path / "plain", *options) == 0
    assert execute(tmp_path / "passed", *options, same) == 0
    plain, passed = results_of(tmp_path / "plain"), results_of(tmp_path / "passed")
    assert plain["accuracy"] == passed["accuracy"]
    assert plain["method"] == passed["method"]

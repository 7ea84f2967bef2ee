"""A ticket's mask in the hands of any method."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lifelong.parts.held_mask import HeldMask
from tests.conftest import execute, results_of

QUICK = ["data=digits", "data.fraction=0.3", "tasks=3", "epochs=2", "batch_size=16", "logger=none"]
QUICK += ["trainer=cpu", "backbone=conv_small", "heads=multi"]


def mask_file(folder: Path, kernel: tuple[int, ...] = (16, 1, 3, 3)) -> Path:
    """Half of the weights of the first layer, drawn."""
    torch.manual_seed(0)
    file = folder / "mask.pth"
    mask = (torch.rand(kernel) < 0.5).float()
    torch.save({"body.0.weight_orig": torch.ones(kernel), "body.0.weight_mask": mask}, file)
    return file


def first_layer(folder: Path) -> torch.Tensor:
    file = sorted(folder.glob("visit_*.ckpt"))[-1]
    state = torch.load(file, weights_only=True)["strategy"]
    return state["network.body.0.weight"]


def kernel_of(tmp_path: Path) -> tuple[int, ...]:
    assert execute(tmp_path / "plain", *QUICK, "strategy=finetune", "tasks=1") == 0
    return tuple(first_layer(tmp_path / "plain").shape)


@pytest.mark.parametrize("choice", [
    "strategy=er optimizer=adam", "strategy=agem optimizer=sgd optimizer.momentum=0.9",
    "strategy=ewc optimizer=adam optimizer.weight_decay=0.1", "strategy=si optimizer=rmsprop",
    "strategy=derpp optimizer=tag_rmsprop", "strategy=wsn optimizer=sgd", "strategy=l2_init",
    "strategy=er flatness=sam optimizer=sgd", "strategy=hat optimizer=adam",
    "strategy=gpm optimizer=sgd", "strategy=shrink_perturb optimizer=adam",
    "strategy=cbp strategy.maturity=2 strategy.replace=0.2",
])  # fmt: skip
def test_what_the_mask_removes_stays_zero(tmp_path: Path, choice: str) -> None:
    kernel = kernel_of(tmp_path)
    file = mask_file(tmp_path, kernel)
    removed = torch.load(file, weights_only=True)["body.0.weight_mask"] == 0
    assert execute(tmp_path / "run", *QUICK, *choice.split(), f"mask={file}") == 0
    weight = first_layer(tmp_path / "run")
    assert not weight[removed].any()
    assert bool(weight[~removed].all())
    told = results_of(tmp_path / "run")["method"]["mask"]
    assert told["kept"] == pytest.approx(float((~removed).float().mean()), abs=1e-6)


def test_gradients_are_those_of_the_sparse_network(tmp_path: Path) -> None:
    """For whoever asks: a rule that leaves the weights, a method's references, a step ahead."""
    torch.manual_seed(0)
    network = nn.ModuleDict({"body": nn.Sequential(nn.Conv2d(1, 16, 3))})
    held = HeldMask(network, mask_file(tmp_path))
    [p] = held.removed
    loss = network["body"](torch.randn(2, 1, 8, 8)).square().sum()
    [gradient] = torch.autograd.grad(loss, [p], retain_graph=True)
    loss.backward()
    assert torch.equal(p.grad, gradient)  # type: ignore[arg-type]
    assert torch.equal(gradient == 0, held.removed[p])


def test_other_files_and_methods_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = mask_file(tmp_path, (3, 2, 5, 5))
    assert execute(tmp_path / "a", *QUICK, "strategy=er", f"mask={file}") == 2
    assert "belongs to another network; body.0.weight differs" in capsys.readouterr().err
    assert execute(tmp_path / "a", *QUICK, "strategy=er", "mask=none.pth") == 2
    assert "mask=none.pth: no such file" in capsys.readouterr().err
    assert execute(tmp_path / "a", *QUICK[:-2], "strategy=tickets_td", f"mask={file}") == 2
    assert "has masks of its own" in capsys.readouterr().err

"""Networks of the MAS literature: sizes, initial weights, frozen layers (MAS spec, 2 and 10.15)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from lifelong.backbones import AlexNet, convnet
from lifelong.backbones.backbone import initialize
from lifelong.data import Visit
from lifelong.networks import Independent, MultiHead, Network, OutputMatrix, SingleHead
from lifelong.strategies import EWC, MAS
from tests.conftest import configured, images, small_body, toy_task


def size(*tensors: Any) -> int:
    return sum(tensor.numel() for tensor in tensors)


@pytest.mark.parametrize(
    ("name", "convolutions", "linear"),
    [
        ("vgg9_small", 334_016, [(128, 2048), (128, 128)]),
        ("vgg9_base", 1_145_408, [(512, 4096), (512, 512)]),
        ("vgg9_wide", 4_500_864, [(512, 8192), (512, 512)]),
        ("vgg22_deep", 4_280_704, [(512, 4096), (512, 512)]),
    ],
)
def test_vgg(name: str, convolutions: int, linear: list[tuple[int, int]]) -> None:
    config = configured("data=tiny_imagenet_10", f"backbone={name}", "augment=none")
    body = instantiate(config.backbone, _convert_="all")()
    found = [layer for layer in body.layers if layer.weight.dim() == 4]
    assert size(*(p for layer in found for p in layer.parameters())) == convolutions
    assert [tuple(layer.weight.shape) for layer in body.layers if layer not in found] == linear
    assert body(torch.zeros(2, 3, 64, 64)).shape == (2, linear[-1][0]) == (2, body.features)
    assert all(not layer.bias.any() for layer in body.layers)


def test_mlp400() -> None:
    config = configured("data=split_mnist", "backbone=mlp400", "augment=pad")
    body = instantiate(config.backbone, _convert_="all")()
    assert size(*body.parameters()) == 570_400
    assert body(torch.zeros(2, 1, 32, 32)).shape == (2, 400)


def test_initial_weights() -> None:
    weight, bias = torch.empty(64, 32, 3, 3), torch.empty(64)
    initialize(weight, bias, "kaiming")
    assert abs(weight.std() - (2 / (64 * 9)) ** 0.5) < 2e-3
    assert not bias.any()
    matrix = torch.empty(200, 300)
    initialize(matrix, bias, "kaiming")
    assert abs(matrix.std() - 0.01) < 2e-4
    initialize(weight, bias, "uniform")
    bound = (32 * 9) ** -0.5
    assert bound * 0.99 < weight.abs().max() <= bound
    assert 0 < bias.abs().max() <= bound
    initialize(weight, bias, "truncated_normal")
    assert weight.abs().max() <= 0.1
    assert (bias == 0.2).all()
    with pytest.raises(ValueError, match="init=zero: give truncated_normal or uniform"):
        initialize(weight, bias, "zero")  # type: ignore[arg-type]


@pytest.mark.parametrize("heads", [MultiHead, SingleHead, partial(OutputMatrix, outputs=7)])
@pytest.mark.parametrize("initial", ["truncated_normal", "uniform", "kaiming"])
def test_heads_start_as_asked(heads: Any, initial: str) -> None:
    made = heads(400, init=initial)
    made.add_task(0, range(7))
    parameters = list(made.parameters())
    expected = {"truncated_normal": 0.2, "uniform": None, "kaiming": 0.0}[initial]
    if expected is None:
        assert 0 < parameters[-1].abs().max() <= 1 / 20
        assert 0.045 < parameters[0].abs().max() <= 1 / 20
    else:
        assert (parameters[-1] == expected).all()


def test_linear_layers_on_convolutions_and_dropout() -> None:
    body = convnet((2, 6, 6), [3, 4], [1, 2], widths=[5, 6], dropout=0.5, init="uniform")
    x = torch.randn(4, 2, 6, 6)
    assert body.features == 6
    assert not torch.equal(body(x), body(x))
    body.eval()
    assert torch.equal(body(x), body(x))


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights as torchvision saves them."""
    from torchvision.models import alexnet as make

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(make().state_dict(), path)
    return path


def test_alexnet(alexnet: Path) -> None:
    body = AlexNet((3, 64, 64), weights=str(alexnet))
    assert size(*body.parameters()) == 57_003_840
    convolutions = [p for name, p in body.named_parameters() if "features" in name]
    assert size(*convolutions) == 2_469_696
    saved = torch.load(alexnet, weights_only=True)
    assert torch.equal(body.body.classifier[4].weight, saved["classifier.4.weight"])
    assert body(torch.zeros(2, 3, 64, 64)).shape == (2, 4096)
    for options, message in (
        ({"shape": (1, 64, 64)}, "three channels"),
        ({"shape": (3, 32, 32)}, "at least 63 x 63"),
        ({"freeze_layers": 6}, "backbone.freeze_layers=6: give a number from 0 to 5"),
        ({"weights": "nowhere.pth"}, r"backbone.weights=nowhere.pth: not a readable file"),
    ):
        with pytest.raises(ValueError, match=message):
            AlexNet(**({"shape": (3, 64, 64), "weights": "none"} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [partial(MAS, importance_data="val"), EWC])
def test_frozen_layers_keep_still_and_have_no_importance(method: Any) -> None:
    """Three frozen convolutions over two tasks; the other two change."""
    torch.manual_seed(1)
    made = method(
        Network(partial(AlexNet, (3, 64, 64), "none", freeze_layers=3), MultiHead),
        partial(torch.optim.SGD, lr=0.05),
        samples=2,
    )
    before = {name: p.detach().clone() for name, p in made.network.named_parameters()}
    frozen = [f"body.body.features.{number}." for number in (0, 3, 6)]
    for index in (0, 1):
        large = images(4, (3, 64, 64), task=index)
        visit = Visit(index + 1, replace(toy_task(index), train=large, val=large), False)
        made.begin_task(visit)
        optimizer = made.configure_optimizers()["optimizer"]
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for _ in range(2):
            optimizer.zero_grad()
            made.training_loss(visit.train[torch.arange(4)]).backward()
            made.on_before_optimizer_step(None)
            optimizer.step()
        made.end_task(visit, [])  # type: ignore[arg-type]
    for name, p in made.network.body.named_parameters(prefix="body"):
        still = any(name.startswith(prefix) for prefix in frozen)
        assert torch.equal(p, before[name]) == still, name
        assert (name in made.anchor.names) != still
        assert (id(p) in trained) != still


def test_networks_of_their_own_keep_the_frozen_layers_frozen() -> None:
    body = small_body()()
    body.frozen = (body.layers[0],)  # type: ignore[attr-defined]
    made = Independent(lambda: body, MultiHead)  # type: ignore[arg-type, return-value]
    made.add_task(0, range(3))
    assert [p.requires_grad for p in made._network(0).body.parameters()] == [False] * 2 + [True] * 6

"""Bodies whose weights come from elsewhere."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.backbones import AlexNet, ResNet18
from lifelong.data import Visit
from lifelong.networks import MultiHead, Network
from lifelong.parts.fisher import Fisher
from lifelong.parts.sensitivity import Sensitivity
from lifelong.strategies import EWC, MAS
from tests.backbones.counts import size
from tests.conftest import images, toy_task


def test_weights_from_a_file(tmp_path: Path) -> None:
    make = partial(ResNet18, (3, 32, 32))
    one = make(weights="none")
    with_output = {**one.body.state_dict(), "fc.weight": torch.ones(10, 512), "fc.bias": None}
    torch.save(with_output, tmp_path / "weights.pth")
    other = make(weights=str(tmp_path / "weights.pth"))
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(one.eval()(x), other.eval()(x))
    assert one.features == one(x).shape[1] == 512


def test_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import ResNet18_Weights

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", offline)
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    torch.save({"layer": torch.ones(1)}, tmp_path / "other.pth")
    for weights, message in (
        ("imagenet", r"backbone.weights=imagenet: .*no route to host.* or none for new weights"),
        (f"{tmp_path}/missing.pth", "missing.pth: not a readable file of a state dict"),
        (f"{tmp_path}/broken.pth", "broken.pth: not a readable file of a state dict"),
        (f"{tmp_path}/other.pth", "other.pth: does not fit"),
    ):
        with pytest.raises(ValueError, match=message):
            ResNet18((3, 32, 32), weights)
    with pytest.raises(ValueError, match=r"data.shape=.1, 32, 32.: this backbone needs three"):
        ResNet18((1, 32, 32), "none")


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


@pytest.mark.parametrize(
    "method",
    [
        partial(MAS, importance=Sensitivity(images="val", samples=2)),
        partial(EWC, importance=Fisher(samples=2)),
    ],
)
def test_frozen_layers_keep_still_and_have_no_importance(method: Any) -> None:
    """Three frozen convolutions over two tasks; the other two change."""
    torch.manual_seed(1)
    made = method(
        Network(partial(AlexNet, (3, 64, 64), "none", freeze_layers=3), MultiHead),
        partial(torch.optim.SGD, lr=0.05),
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

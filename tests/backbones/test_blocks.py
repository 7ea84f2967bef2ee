"""Bodies of any kind as sequences of blocks."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones import (
    AlexNet,
    Block,
    Module,
    PreActivationResNet18,
    ReducedResNet,
    ResNet18,
    Timm,
    Torchvision,
    Wrapped,
)
from lifelong.backbones.backbone import Body
from lifelong.backbones.blocks import cut, found
from lifelong.data import by_class
from lifelong.data.sources import digits
from lifelong.networks import Independent, MultiHead, Network
from lifelong.parts.fisher import Fisher
from lifelong.parts.sensitivity import Sensitivity
from lifelong.transfer import HardTransferLayer, TransferNetwork, every

SMALL_VIT = {"depth": 3, "embed_dim": 24, "num_heads": 2, "patch_size": 8}


class Own(Body):
    """As somebody may write it who has read no more than what a body is."""

    features = 5

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu().mean((2, 3)))


BODIES: dict[str, tuple[Callable[[], Body], int]] = {
    "vision transformer": (
        partial(Timm, (3, 32, 32), "vit_tiny_patch16_224", options=SMALL_VIT), 3
    ),
    "stages of timm": (partial(Timm, (3, 64, 64), "test_resnet"), 5),
    "stages of torchvision": (partial(Torchvision, (3, 64, 64), "resnet18"), 4),
    "layers of one stage": (partial(Torchvision, (3, 64, 64), "mobilenet_v3_small"), 13),
    "our own": (partial(ReducedResNet, (3, 32, 32), 4), 8),
    "pre-activation": (partial(PreActivationResNet18, (3, 32, 32), 8), 8),
    "resnet18": (partial(ResNet18, (3, 64, 64), "none"), 4),
    "alexnet": (partial(AlexNet, (3, 64, 64), "none"), 5),
    "a person's own": (lambda: Own(), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_the_blocks_one_after_the_other_are_the_body(name: str) -> None:
    make, number = BODIES[name]
    body = make()
    blocks = body.as_blocks()
    assert len(blocks) == number
    owned = [id(p) for block in blocks for p in block.parameters()]
    assert sorted(owned) == sorted(id(p) for p in body.parameters())
    size = 32 if name in ("vision transformer", "our own", "pre-activation") else 64
    x = torch.randn(3, 3, size, size)
    for mode in (False, True):
        body.train(mode)
        other = copy.deepcopy(body)  # statistics move in training
        torch.manual_seed(1)
        wanted = other(x)
        torch.manual_seed(1)
        h = x
        for block in blocks:
            h = block.train(mode)(h)
        assert torch.equal(h, wanted)


def test_new_blocks_are_those_of_a_new_body_and_follow_from_the_seed() -> None:
    make = partial(Timm, (3, 32, 32), "vit_tiny_patch16_224", options=SMALL_VIT)
    units = make().units(make)
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        units[0].restart()
        drawn.append([unit.reinitialized() for unit in (*units, units[0])])
    first, again = drawn
    for one, other in zip(first, again, strict=True):
        assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    weights = [unit.state_dict()["module.module.patch_embed.proj.weight"] for unit in
               (units[0], first[0], first[-1])]  # fmt: skip
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_a_body_that_brings_its_weights_is_copied() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    body = Wrapped(module, (3, 8, 8))
    body.drawn = False
    units = body.units(lambda: body)
    twin = units[1].reinitialized()
    assert isinstance(twin, Block)
    assert twin.module is not units[1].module  # type: ignore[attr-defined]
    for one, other in zip(twin.parameters(), units[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_blocks_can_be_named() -> None:
    def make(blocks: list[str]) -> Module:
        return Module((3, 32, 32), lambda: Torchvision((3, 32, 32), "resnet18").module,
                      blocks=blocks)  # fmt: skip

    assert len(make(["layer1.0", "layer1.1", "layer4"]).as_blocks()) == 3
    with pytest.raises(ValueError, match=r"has no module layer9; give names such as conv1, bn1"):
        make(["layer9"]).as_blocks()
    with pytest.raises(ValueError, match=r"no sequence of blocks \(a block needs more than"):
        make(["layer1.0.conv1", "layer1.0.conv2"]).as_blocks()


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.b(self.a(self.a(x)))
        return h if h.sum() > 0 else -h


def test_what_is_no_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no sequence of blocks \(symbolically traced"):
        cut(Wrapped(Twice(), (3, 8, 8)))
    with pytest.raises(ValueError, match="has no blocks that follow each other"):
        found(Wrapped(nn.Conv2d(3, 3, 1), (3, 8, 8)))


def test_first_blocks_keep_their_weights() -> None:
    make = partial(Torchvision, (3, 64, 64), "resnet18", freeze=2)
    body = make().train()
    trained = {name.split(".")[1] for name, p in body.named_parameters() if p.requires_grad}
    assert trained == {"layer3", "layer4"}
    norms = [m for m in body.module.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.training for norm in norms} == {True, False}
    assert len(body.units(make)) == 2
    prefix = body.prefix()
    assert prefix is not None
    assert not prefix.train().training
    for wrong in (-1, 5):
        with pytest.raises(ValueError, match=rf"backbone.freeze={wrong}: the body has 4 blocks"):
            Torchvision((3, 64, 64), "resnet18", freeze=wrong)
    with pytest.raises(ValueError, match="leaves no block that could be shared"):
        Torchvision((3, 64, 64), "resnet18", freeze=4).units(make)


def test_blocks_that_hold_fixed_weights_are_not_shared() -> None:
    make = partial(AlexNet, (3, 64, 64), "none", freeze_layers=1)
    with pytest.raises(ValueError, match="AlexNet keeps weights within its blocks"):
        make().units(make)


class Gives(nn.Module):
    """What is said, and another thing while it is trained."""

    def __init__(self, give: Any, train: Any = None) -> None:
        super().__init__()
        self.give, self.while_trained = give, train or give

    def forward(self, x: Tensor) -> Any:
        return (self.while_trained if self.training else self.give)(x.flatten(1))


@pytest.mark.parametrize(("give", "told"), [
    (Gives(lambda x: x.mean(0)), r"in tests gives \[64\] of 2 images"),
    (Gives(lambda x: x.T), r"in tests gives \[64, 2\] of 2 images; give a row of each"),
    (Gives(lambda x: x.sum(1)), r"in tests gives \[2\] of 2 images"),
    (Gives(lambda x: (x, x)), "in tests gives a tuple; give one tensor"),
    (Gives(lambda x: {"x": x}), "in tests gives a dict"),
    (Gives(lambda x: x, lambda x: (x, x)), "in training gives a tuple"),
    (Gives(lambda x: x, lambda x: x[:, 1:]), r"gives \[2, 64\] and \[2, 63\] of 2 images"),
    (Gives(lambda x: x.bfloat16()), "in tests gives torch.bfloat16; give torch.float32"),
    (Gives(lambda x: x.long()), "in tests gives torch.int64"),
])  # fmt: skip
def test_a_body_gives_a_row_of_numbers_for_each_image(give: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"backbone: Gives {told}"):
        Wrapped(give, (1, 8, 8))


def test_a_body_may_be_made_at_its_first_call() -> None:
    lazy = nn.Sequential(nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d(), nn.LazyLinear(5))
    assert Wrapped(lazy, (1, 8, 8)).features == 3 * 6 * 5
    assert int(lazy[1].num_batches_tracked) == 0


def test_a_body_is_as_it_was_when_it_has_been_tried() -> None:
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout()).train()
    state, draws = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    assert Wrapped(module, (1, 8, 8)).features == 108
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), draws)
    assert module.training


class Rows(nn.Module):
    """A recurrent network over the rows of an image, which cannot be differentiated by image."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.rnn(x[:, 0])[1][0]
        return found


@pytest.mark.parametrize("importance", [Fisher(), Sensitivity()])
def test_importances_that_cannot_be_had_are_refused_at_the_start(importance: Any) -> None:
    stream = by_class(digits(), tasks=5, batch_size=20)
    network = Network(partial(Wrapped, Rows(), (1, 8, 8)), MultiHead)
    with pytest.raises(ValueError, match="gradients of single images cannot be taken"):
        importance.check(network, stream.tasks)
    importance.estimator = "batched"
    importance.check(network, stream.tasks)
    assert not network.heads.all


def frozen_in_part() -> Wrapped:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    module[0].requires_grad_(False)
    return Wrapped(module, (1, 8, 8), blocks=["2"])


@pytest.mark.parametrize("make", [
    partial(Network, heads=MultiHead), partial(Independent, heads=MultiHead),
    partial(TransferNetwork, heads=MultiHead, kind=HardTransferLayer, pattern=every),
])  # fmt: skip
def test_weights_that_ask_for_no_gradient_are_trained_by_nobody(make: Any) -> None:
    """Whatever a network or a method makes trainable, they are no parameters any more."""
    body = frozen_in_part()
    assert [name for name, _ in body.named_parameters()] == ["module.2.weight", "module.2.bias"]
    kept = body.module.get_buffer("0.weight")
    assert body.state_dict().keys() >= {"module.0.weight", "module.0.bias"}
    network = make(frozen_in_part)
    for task in (0, 1):
        network.add_task(task, (2 * task, 2 * task + 1))
    assert kept.shape not in {p.shape for p in network.parameters()}
    held = [value for value in network.buffers() if value.shape == kept.shape]
    assert held
    assert all(torch.equal(value, kept) for value in held)


@pytest.mark.parametrize("name", ["layers", "units", "features"])
def test_a_name_of_the_body_itself_is_not_taken_for_a_module(name: str) -> None:
    """The module would be there, and never be found under its name."""
    with pytest.raises(AttributeError, match=rf"Own\.{name}: is what a Body itself says"):
        setattr(Own(), name, nn.Linear(2, 2))


def test_names_that_a_person_gives_a_class_beforehand_are_modules_all_the_same() -> None:
    class Declared(Own):
        head: nn.Module | None = None

    made = Declared()
    made.head = nn.Linear(2, 2)
    assert "head.weight" in made.state_dict()


class Scaled(nn.Module):
    """A block that is handed a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor, factor: float) -> Tensor:
        found: Tensor = self.linear(x) * factor
        return found


class Merging(nn.Module):
    """A layer whose change of mode changes its weight, as low-rank changes are merged."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.merged = nn.Parameter(torch.eye(8)), False

    def train(self, mode: bool = True) -> Merging:
        if not mode and not self.merged:
            self.weight.data += 1
            self.merged = True
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def test_a_cut_leaves_weights_alone_that_a_change_of_mode_moves() -> None:
    body = nn.Sequential(Merging(), nn.Linear(8, 8))
    cut(body, ["0", "1"])
    assert torch.equal(body[0].weight, torch.eye(8))
    assert body.training


WAYS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "dropout": lambda body, x: F.dropout(x, 0.5, body.training),
    "rate": lambda body, x: F.dropout(x, 0.5 if body.training else 0.0),
    "norm": lambda body, x: F.batch_norm(x, body.mean, body.var, training=body.training),
    "like": lambda body, x: x + torch.randn_like(x),
    "constant": lambda body, x: (x - torch.tensor([0.5])) / torch.linspace(1, 2, 8),
    "drawn": lambda body, x: x + torch.randn(1, 8),
    "coin": lambda body, x: x * 2 if random.random() < 0.5 else x,
    "steps": lambda body, x: x + torch.randn_like(x) if body.training else x,
}


class ByItself(nn.Module):
    """A body whose forward asks itself whether it is trained, or draws, in a way."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.a, self.b, self.way = nn.Linear(8, 8), nn.Linear(8, 8), way
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("var", torch.ones(8))
        if way == "handed":
            self.c = Scaled()

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if self.way == "handed":
            return self.c(self.b(x), 2.0 if self.training else 1.0)
        return self.b(WAYS[self.way](self, x))


@pytest.mark.parametrize("way", ["dropout", "rate", "norm", "like", "constant", "handed"])
def test_what_goes_by_training_or_is_drawn_goes_on_as_in_the_body(way: str) -> None:
    body = ByItself(way)
    one = copy.deepcopy(body)
    blocks = ["a", "b", *(["c"] if way == "handed" else [])]
    other = copy.deepcopy(nn.Sequential(*cut(body, blocks)))
    assert body.training
    x = torch.randn(4, 8)
    for trains in (True, False):
        answers = []
        for each in (one.train(trains), other.train(trains)):
            torch.manual_seed(1)
            answers.append(each(x))
        assert torch.equal(*answers)
    weights = dict(body.named_parameters())
    assert {name.split(".", 1)[1] for name, _ in other.named_parameters()} == weights.keys()


@pytest.mark.parametrize(
    ("way", "why"),
    [("drawn", "draws numbers by itself"), ("coin", "draws numbers by itself"),
     ("steps", "takes other steps in tests than in training")],
)  # fmt: skip
def test_what_would_be_decided_once_for_all_is_refused(way: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"no sequence of blocks .its forward {why}"):
        cut(ByItself(way), ["a", "b"])

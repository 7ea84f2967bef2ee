"""Sizes of the gradients of single images, against one backward pass for each (MAS spec, 10)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones import ReducedResNet, mlp
from lifelong.backbones.backbone import Body
from lifelong.data import Batch
from lifelong.networks import MultiHead, Network, OutputMatrix
from lifelong.parts import layer_calls, per_image
from lifelong.parts.per_image import (
    absolute_sum,
    batch_mean,
    cross_entropy,
    image_mean,
    local_mean,
    squared_norm,
)
from lifelong.transfer import top
from tests.conftest import small_body, transfer_network


class Mixed(Body):
    """Convolutions with stride and padding, in-place ReLU, batch-norm, linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = 12
        self.layers_ = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(8, 12),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers_(x)
        return out


class Tokens(Body):
    """Nine tokens of an image, of as many images: what counts which is easily mistaken.

    Args:
        how: `first`: attention over tokens in the first dimension; `class`: with a class token and
            a factor for each feature; `flat`: a linear map of all tokens of all images; `folded`: a
            convolution of all their rows, and a summand that is weighted.
    """

    def __init__(self, how: str) -> None:
        super().__init__()
        self.features, self.how = 8, how
        self.patches = nn.Conv2d(2, 8, 2, stride=2)
        self.places = nn.Parameter(torch.randn(1, 9, 8))
        self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=how == "class")
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.factor = nn.Parameter(torch.randn(8))
        self.across = nn.Conv2d(8, 8, (1, 3), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places  # (n, 9, 8)
        if self.how == "folded":  # a convolution of all rows of all images
            rows = tokens.view(-1, 3, 3, 8).transpose(2, 3).reshape(-1, 8, 1, 3)
            mixed = self.linear(tokens).add(self.factor, alpha=-0.5).relu().mean(1)
            return mixed + self.across(rows).relu().view(-1, 3, 8, 3).mean((1, 3))
        if self.how == "flat":
            return self.linear(tokens.reshape(-1, 8)).relu().view(-1, 9, 8).mean(1)
        if self.how == "class":
            tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        else:
            tokens = tokens.transpose(0, 1) + self.token
        normed = self.norm(tokens)
        mixed, _ = self.attention(normed, normed, normed, need_weights=False)
        tokens = tokens + self.factor * mixed
        out: Tensor = (tokens + self.linear(tokens).relu()).mean(1 if self.how == "class" else 0)
        return out


def network(kind: str) -> Any:
    """A network of two tasks with three classes each, in evaluation mode, in double precision."""
    made: Any
    if kind == "transfer":
        made = transfer_network(top, kind="tensor_factored")
    else:
        bodies = {
            "stack": small_body(),
            "mixed": Mixed,
            "resnet": partial(ReducedResNet, (2, 32, 32), width=2),
            **{how: partial(Tokens, how) for how in TOKENS},
        }
        heads = partial(OutputMatrix, outputs=7) if kind == "resnet" else MultiHead
        made = Network(bodies[kind], heads)  # type: ignore[arg-type]
    for task in (0, 1):
        made.add_task(task, range(3))
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
    return made.double().eval()


def batches(kind: str, *sizes: int) -> list[Batch]:
    pixels = 32 if kind == "resnet" else 6
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(9, 2, pixels, pixels, dtype=torch.double, generator=generator)
    y = torch.arange(9) % 3
    parts = zip(x.split(list(sizes)), y.split(list(sizes)), strict=True)
    return [Batch(a, b, torch.ones(len(b), dtype=torch.long)) for a, b in parts]


def trained(net: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in net.named_parameters() if p.requires_grad}


def one_by_one(net: Any, data: list[Batch], objective: Any) -> dict[str, list[Tensor]]:
    """The gradient of each image's objective."""
    named = trained(net)
    found: dict[str, list[Tensor]] = {name: [] for name in named}
    for batch in data:
        for row in range(len(batch.y)):
            value = objective(net.logits(batch.x[row : row + 1], 1), batch.y[row : row + 1])[0]
            gradients = torch.autograd.grad(value, list(named.values()), allow_unused=True)
            for (name, p), gradient in zip(named.items(), gradients, strict=True):
                found[name].append(torch.zeros_like(p) if gradient is None else gradient)
    return found


TOKENS = ("first", "class", "flat", "folded")
KINDS = ["stack", "mixed", "resnet", "transfer", *TOKENS]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", [squared_norm, absolute_sum, cross_entropy])
def test_equals_one_backward_pass_an_image(
    monkeypatch: pytest.MonkeyPatch, kind: str, objective: Any
) -> None:
    net = network(kind)
    exact = one_by_one(net, batches(kind, 9), objective)
    named = trained(net)
    for sizes, memory in (([9], 2**26), ([4, 5], 1)):
        # 1: the images of a convolution one by one
        monkeypatch.setattr(layer_calls, "MEMORY", {"cpu": memory})
        absolute = image_mean(net, batches(kind, *sizes), named, objective)
        squares = image_mean(net, batches(kind, *sizes), named, objective, "square")
        for name, gradients in exact.items():
            stacked = torch.stack(gradients)
            torch.testing.assert_close(absolute[name], stacked.abs().mean(0), rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(
                squares[name], stacked.square().mean(0), rtol=1e-9, atol=1e-12
            )
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("kind", ["stack", "mixed", "resnet", *TOKENS])
def test_layers_norms_and_attention_take_one_pass(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Nothing is left to vectorised differentiation, but what no single image has its share in."""
    left: set[str] = set()
    monkeypatch.setattr(per_image, "_differentiate", lambda *args: left.update(args[3]))
    net = network(kind)
    image_mean(net, batches(kind, 9), trained(net), squared_norm)
    rest = {  # their rows are tokens, or rows of tokens; a factor on the summand
        "flat": {"body.linear.weight", "body.linear.bias"},
        "folded": {"body.across.weight", "body.across.bias", "body.factor"},
    }
    assert left == rest.get(kind, set())


@pytest.mark.parametrize("kind", KINDS)
def test_batches_give_less(kind: str) -> None:
    net = network(kind)
    named = trained(net)
    data = batches(kind, 9)
    exact = image_mean(net, data, named, squared_norm)
    for name, value in batch_mean(net, data, named, squared_norm).items():
        assert (value <= exact[name] + 1e-12).all()
    gradients = one_by_one(net, data, squared_norm)
    found = batch_mean(net, batches(kind, 4, 4, 1), named, squared_norm)
    for name, of_images in gradients.items():  # every batch has the same weight
        g = torch.stack(of_images)
        expected = (g[:4].mean(0).abs() + g[4:8].mean(0).abs() + g[8].abs()) / 3
        torch.testing.assert_close(found[name], expected, rtol=1e-9, atol=1e-12)


class Plain(Body):
    """A linear layer, with ReLU or not."""

    def __init__(self, relu: bool = False) -> None:
        super().__init__()
        self.linear, self.relu, self.features = nn.Linear(2, 2, bias=False), relu, 2
        weight = torch.tensor([[1.0, -2.0], [0.5, 1.0]])
        self.linear.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.linear(x.flatten(1))
        return F.relu(z) if self.relu else z


class Bare:
    """A body as a network whose scores are the features."""

    def __init__(self, body: nn.Module) -> None:
        self.body = body

    def logits(self, x: Tensor, task: int) -> Tensor:
        scores: Tensor = self.body(x)
        return scores

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return self.logits(x, 0)


HAND = [Batch(torch.tensor([[1.0, 2.0], [-3.0, 1.0]]), torch.tensor([0, 0]), torch.zeros(2).long())]


def test_heads_of_other_tasks_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in no image's gradient, so none is differentiated image by image for them."""

    def slow(*_: Any) -> None:
        raise AssertionError("differentiated image by image")

    net = network("stack")
    for task in range(2, 6):
        net.add_task(task, range(3))
    named = {name: p for name, p in net.named_parameters() if p.requires_grad}
    monkeypatch.setattr(per_image, "_differentiate", slow)
    found = image_mean(net, batches("stack", 9), named, cross_entropy, "square")
    others = [value for name, value in found.items() if name.startswith("heads.all.4")]
    assert others
    assert not any(value.any() for value in others)


def test_a_linear_layer_by_hand() -> None:
    body = Plain()
    net: Any = Bare(body)
    named = {"w": body.linear.weight}
    found = image_mean(net, HAND, named, squared_norm)["w"]
    torch.testing.assert_close(found, torch.tensor([[18.0, 11.0], [4.0, 5.5]]))
    found = batch_mean(net, HAND, named, squared_norm)["w"]
    torch.testing.assert_close(found, torch.tensor([[12.0, 11.0], [4.0, 4.5]]))


def test_a_local_importance_by_hand() -> None:
    body = Plain(relu=True)
    net: Any = Bare(body)
    found = local_mean(net, HAND, {"w": body.linear.weight})["w"]
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0], [1.25, 2.5]]))


def test_local_importance_is_half_the_gradient_of_each_layers_own_output() -> None:
    """For convolutions and linear layers, weights and biases, the input held constant."""
    net = network("stack")
    body = net.body
    data = batches("stack", 9)
    named = {name: p for name, p in net.named_parameters() if name.startswith("body.")}
    found = local_mean(net, data, named)
    expected = {name: torch.zeros_like(p) for name, p in named.items()}
    for x in data[0].x.split(1):
        for number, layer in enumerate(body.layers):
            z = layer.linear(x.detach(), layer.weight, layer.bias)
            own = F.relu(z).square().sum()
            gradients = torch.autograd.grad(own, [layer.weight, layer.bias])
            for kind, gradient in zip(("weight", "bias"), gradients, strict=True):
                expected[f"body.{number}.{kind}"] += gradient.abs() / 2 / 9
            x = layer(x)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


def test_local_and_global_agree_before_a_map_that_keeps_norms() -> None:
    torch.manual_seed(0)
    body = mlp((1, 2, 3), [4])
    turn = torch.linalg.qr(torch.randn(4, 4))[0]

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: Tensor) -> Tensor:
            features: Tensor = self.body(x)
            return features @ turn

    net: Any = Bare(Turned())
    named = dict(body.named_parameters())
    data = [Batch(torch.randn(5, 1, 2, 3), torch.zeros(5).long(), torch.zeros(5).long())]
    whole, own = image_mean(net, data, named, squared_norm), local_mean(net, data, named)
    for name in named:
        torch.testing.assert_close(whole[name], 2 * own[name])
    turn *= torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert not torch.allclose(
        image_mean(net, data, named, squared_norm)["0.weight"], whole["0.weight"]
    )


def test_local_refuses_what_is_no_layer() -> None:
    net = network("mixed")
    named = dict(net.body.named_parameters())
    with pytest.raises(
        ValueError, match=r"strategy.importance.scope=local: layers_.4.bias is no weight"
    ):
        local_mean(net, batches("mixed", 9), named)


class Reused(nn.Module):
    """A square weight that serves a linear map, and once more in another way."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.weight, self.bias = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4))
        self.output = nn.Linear(4, 3)

    def logits(self, x: Tensor, task: int) -> Tensor:
        w = self.weight
        h = F.relu(F.linear(x, w, self.bias))
        h = {
            "once": lambda: h,
            "shape": lambda: h * w.shape[0] + w.dim(),
            "tied": lambda: F.linear(h, w),
            "transposed": lambda: F.linear(h, w.t()),
            "product": lambda: h @ w.t(),
            "norm": lambda: h * w.norm(),
            "row": lambda: h + w[1],
            "as input": lambda: h + F.linear(w, w).sum(),
            "bias": lambda: h * self.bias,
            "in a list": lambda: h @ torch.stack([w, w]).sum(0),
            "named": lambda: torch.matmul(h, other=w),
        }[self.how]()
        out: Tensor = self.output(h)
        return out


HOWS = [
    "once", "shape", "tied", "transposed", "product", "norm", "row", "as input", "bias",
    "in a list", "named",
]  # fmt: skip


@pytest.mark.parametrize("how", HOWS)
def test_a_weight_that_is_used_in_another_way_too(how: str) -> None:
    net: Any = Reused(how).double()
    x, y = torch.randn(7, 4, dtype=torch.double), torch.arange(7) % 3
    data = [Batch(x, y, torch.zeros(7, dtype=torch.long))]
    exact = {}
    for row in range(7):
        value = squared_norm(net.logits(x[row : row + 1], 0), y[row : row + 1])[0]
        for (name, _), gradient in zip(
            net.named_parameters(), torch.autograd.grad(value, list(net.parameters())), strict=True
        ):
            exact[name] = exact.get(name, 0) + gradient.abs() / 7
    found = image_mean(net, data, trained(net), squared_norm)
    for name, value in exact.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)
    if how in ("once", "shape"):
        local_mean(net, data, trained(net))
    else:
        with pytest.raises(
            ValueError, match=r"strategy\.importance\.scope=local: \w+ is no weight"
        ):
            local_mean(net, data, trained(net))


class Opaque(torch.autograd.Function):
    """A product that PyTorch cannot vectorise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return gradients[0] @ w.t(), x.t() @ gradients[0]


def test_refuses_what_cannot_be_taken_image_by_image(monkeypatch: pytest.MonkeyPatch) -> None:
    net: Any = Reused("once")
    monkeypatch.setattr(net, "logits", lambda x, task: Opaque.apply(x, net.weight))
    data = [Batch(torch.randn(3, 4), torch.zeros(3).long(), torch.zeros(3).long())]
    with pytest.raises(
        ValueError, match=r"strategy\.importance\.estimator=exact: .* weight .*give batched"
    ):
        image_mean(net, data, {"weight": net.weight}, squared_norm)


def test_squares_of_single_images() -> None:
    network = Network(small_body(), partial(MultiHead, hidden=[5]))
    for task in (0, 1):
        network.add_task(task, range(3))
    network.eval()
    x, y, t = torch.randn(7, 2, 6, 6), torch.tensor([0, 1, 2, 0, 1, 2, 0]), torch.ones(7).long()
    named = dict(network.named_parameters())
    expected = {name: torch.zeros_like(p) for name, p in named.items()}
    for row in range(7):
        loss = F.cross_entropy(network.logits(x[row : row + 1], 1), y[row : row + 1])
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                expected[name] += gradient**2 / 7
    for parts in ([7], [3, 4]):
        batches = [
            Batch(*group)
            for group in zip(x.split(parts), y.split(parts), t.split(parts), strict=True)
        ]
        found = image_mean(network, batches, named, cross_entropy, "square")
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-9)

"""Where parameters are used: what convolutions and linear maps see, and who uses a weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.parts import layer_calls
from lifelong.parts.layer_calls import Call, LayerTracer, windows


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((3, 3), (1, 1), (1, 1), (1, 1)),
        ((1, 1), (1, 1), (0, 0), (1, 1)),
        ((3, 2), (2, 1), (0, 1), (1, 1)),
        ((2, 3), (1, 3), (2, 0), (2, 1)),
    ],
)
def test_windows_are_those_of_unfold(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int],
    dilation: tuple[int, int],
) -> None:  # fmt: skip
    u = torch.randn(2, 3, 7, 8)
    found = windows(u, kernel, stride, padding, dilation)
    unfolded = F.unfold(u, kernel, dilation, padding, stride)  # (n, c kernel, positions)
    rows, columns = found.shape[1:3]
    expected = unfolded.view(2, 3, *kernel, rows, columns).permute(0, 4, 5, 2, 3, 1)
    assert torch.equal(found, expected)


def traced(module: nn.Module, x: Tensor) -> tuple[LayerTracer, Tensor]:
    tracer = LayerTracer(dict(module.named_parameters()))
    with tracer:
        out = module(x)
    return tracer, out


def once(module: nn.Module, tracer: LayerTracer, x: Tensor) -> list[Call]:
    """The calls that are used once, by those of three images of many."""
    few, _ = traced(module, x[:3])
    return tracer.used_once(few, len(x), 3)


@pytest.mark.parametrize("size", ["absolute", "square"])
@pytest.mark.parametrize("memory", [1, 2**21])
def test_a_call_adds_up_the_sizes_of_all_images_gradients(
    size: Any, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against one backward pass for each image, also image by image for want of memory."""
    monkeypatch.setitem(layer_calls.MEMORY, "cpu", memory)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))
    x, named = torch.randn(5, 2, 4, 4), dict(net.named_parameters())
    tracer, out = traced(net, x)
    calls = once(net, tracer, x)
    assert tracer.covered(calls) == set(named)
    deltas = torch.autograd.grad(out.square().sum(), [call.z for call in calls])
    totals = {name: torch.zeros_like(p) for name, p in named.items()}
    for call, delta in zip(calls, deltas, strict=True):
        call.add(totals, delta, size)
    expected = {name: torch.zeros_like(p) for name, p in named.items()}
    for image in x:
        gradients = torch.autograd.grad(net(image[None]).square().sum(), list(named.values()))
        for name, gradient in zip(named, gradients, strict=True):
            expected[name] += gradient.abs() if size == "absolute" else gradient.square()
    for name, value in expected.items():
        torch.testing.assert_close(totals[name], value, rtol=1e-4, atol=1e-5)


class Uses(nn.Module):
    """A linear map whose weight has another use, too, or whose rows are used apart."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.layer = how, nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.layer.weight, self.layer.bias
        if self.how == "rows":
            return torch.cat([F.linear(x, weight[:1], bias[:1]), F.linear(x, weight[1:])], 1)
        out = F.linear(x, weight, bias)
        return out if self.how == "once" else out + weight.sum()


def test_weights_with_other_uses_are_not_taken_for_used_once() -> None:
    for how, covered in (("once", {"layer.weight", "layer.bias"}), ("sum", set())):
        x, module = torch.randn(5, 3), Uses(how)
        tracer, _ = traced(module, x)
        assert tracer.covered(once(module, tracer, x)) == covered, how
    module, x = Uses("rows"), torch.randn(5, 3)
    tracer, _ = traced(module, x)
    assert [call.rows for call in tracer.made] == [slice(0, 1), slice(1, 4)]
    assert [call.names() for call in tracer.made] == [["layer.weight", "layer.bias"],
                                                      ["layer.weight"]]  # fmt: skip
    assert once(module, tracer, x) == []


class Shifted(nn.Module):
    """Other rows of the bias than of the weight."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.w, self.b = (
            nn.Parameter(torch.randn(3 if whole else 6, 3)),
            nn.Parameter(torch.randn(6)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.w if len(self.w) == 3 else self.w[1:4], self.b[2:5])


@pytest.mark.parametrize("whole", [True, False])
def test_a_bias_of_other_rows_than_the_weight_is_not_taken_for_one_of_them(whole: bool) -> None:
    module, x = Shifted(whole), torch.randn(5, 3)
    tracer, _ = traced(module, x)
    assert tracer.covered(once(module, tracer, x)) == set()


class Named(nn.Module):
    """Attention that is asked with the names of its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x: Tensor) -> Tensor:  # (n, l, e) -> (l, n, e)
        of, tokens = self.attention, x.transpose(0, 1)
        out, _ = F.multi_head_attention_forward(
            query=tokens, key=tokens, value=tokens, embed_dim_to_check=4, num_heads=2,
            in_proj_weight=of.in_proj_weight, in_proj_bias=of.in_proj_bias, bias_k=None,
            bias_v=None, add_zero_attn=False, dropout_p=0.0, out_proj_weight=of.out_proj.weight,
            out_proj_bias=of.out_proj.bias, need_weights=False,
        )  # fmt: skip
        return out


def test_attention_is_seen_however_it_is_asked() -> None:
    module, x = Named(), torch.randn(5, 6, 4)
    tracer, out = traced(module, x)
    torch.testing.assert_close(out, module(x))
    assert tracer.covered(once(module, tracer, x)) == {n for n, _ in module.named_parameters()}

"""Deconvolutions against their formulas (LASEM spec, check 10)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lifelong.backbones import ConvLayer, LinearLayer
from lifelong.transfer import DeconvolvedTransferLayer, TensorFactoredTransferLayer
from tests.conftest import configured
from tests.transfer.layers import factored

CONV4 = [(32, 3), (32, 32), (64, 32), (64, 64)]  # outputs, inputs


def deconvolved(
    outputs: int = 4, inputs: int = 3, kernel: int = 3, sizes: Any = (2, 5, 3, 6), **options: Any
) -> DeconvolvedTransferLayer:
    layer = ConvLayer(inputs, outputs, kernel)
    made = DeconvolvedTransferLayer(layer, 0, sizes=[sizes], **options)
    made.add_task(0, [True])
    return made


def test_deconvolution_by_hand() -> None:
    """Every latent pixel adds its kernel at twice its place; SAME cuts (s - 1) / 2 on each side."""
    layer = deconvolved().double()
    own, latent = layer.mapping["0"], layer.shared_params.latent[0]
    whole = torch.zeros(5, 5, 6, dtype=torch.double)  # stride 2: 2 (h - 1) + s
    for row in range(2):
        for column in range(2):
            patch = torch.einsum("abuz,z->abu", own.kernel, latent[row, column])
            whole[2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += patch
    d = whole[1:4, 1:4] + own.offset
    expected = torch.einsum("abu,uio->oiab", d, own.mixing)
    weight, bias = layer.shared_weight(0)
    torch.testing.assert_close(weight, expected, rtol=0, atol=1e-12)
    assert bias is own.bias


SIZES = [
    (3, (2, 16, 3, 24)),
    (5, (3, 64, 3, 128)),
    (7, (4, 12, 3, 24)),
    (11, (6, 24, 5, 48)),
]


@pytest.mark.parametrize(("kernel", "sizes"), SIZES)
def test_kernel_sizes(kernel: int, sizes: tuple[int, ...]) -> None:
    weight, _ = deconvolved(8, 3, kernel, sizes).shared_weight(0)
    assert weight.shape == (8, 3, kernel, kernel)


def test_weights_are_linear_in_latent_and_mixing() -> None:
    layer = deconvolved().double()
    own = layer.mapping["0"]
    with torch.no_grad():
        own.offset.zero_()
        before, _ = layer.shared_weight(0)
        layer.shared_params.latent.mul_(2)
        torch.testing.assert_close(layer.shared_weight(0)[0], 2 * before)
        own.mixing.mul_(3)
        torch.testing.assert_close(layer.shared_weight(0)[0], 6 * before)


def test_parameters_of_the_paper() -> None:
    sizes = configured("data=cifar100").deconvolution
    counts: dict[str, list[int]] = {"latent": [], "unfolding": [], "factors": [], "core": []}
    for (outputs, inputs), own in zip(CONV4, sizes, strict=True):
        deep = deconvolved(outputs, inputs, sizes=tuple(own))
        tensor = factored(outputs, inputs)
        for name, module in (
            ("latent", deep.shared_params), ("unfolding", deep.mapping["0"]),
            ("factors", tensor.mapping["0"]), ("core", tensor.shared_params),
        ):  # fmt: skip
            counts[name].append(sum(p.numel() for p in module.parameters()))
    assert counts["latent"] == [64, 96, 128, 144]
    assert counts["unfolding"] == [5816, 59_600, 149_632, 318_376]
    assert counts["factors"] == [1083, 2098, 5202, 8274]
    assert counts["core"] == [864, 9216, 18_432, 36_864]


def test_nominal_penalty() -> None:
    layer = deconvolved(slot_penalty=0.2, mapping_penalty=0.4)
    own = layer.mapping["0"]
    expected = 0.1 * (layer.shared_params.latent**2).sum()
    for part in (own.kernel, own.offset, own.mixing):
        expected = expected + 0.2 * (part**2).sum()
    torch.testing.assert_close(layer.penalty(0), expected)
    assert deconvolved().penalty(0) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TensorFactoredTransferLayer(LinearLayer(2, 3), 1), "layer 2 is no convolution"),
        (
            lambda: DeconvolvedTransferLayer(ConvLayer(2, 3), 0, sizes=None),
            "layer 1 of the backbone",
        ),
        (lambda: deconvolved(kernel=5), "layer 1 has kernel 5, which needs h = 3"),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_generated_weights_convolve_as_any() -> None:
    layer, x = deconvolved(), torch.randn(2, 3, 5, 5)
    weight, bias = layer.shared_weight(0)
    expected = F.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(layer.map(x, 0, True), expected)


def test_a_search_counts_the_nominal_penalty_of_deconvolutions_whole() -> None:
    """LASEM spec 4.2: weight 1, where tensor factors are weighed by the posterior."""
    layer = deconvolved(slot_penalty=0.2)
    assert not layer.weighs_penalty
    assert factored().weighs_penalty

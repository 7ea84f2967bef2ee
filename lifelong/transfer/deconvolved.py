"""Deconvolutional sharing (DF-CNN): a small shared latent, unfolded by each task's deconvolution.

Lee, Stokes, Eaton, "Learning Shared Knowledge for Deep Lifelong Learning Using Deconvolutional
Networks", IJCAI 2019; here as the base learner of LASEM (ICML 2021), whose program puts no
non-linearity on the unfolded tensor. Its penalty on the weights is in effect zero (it is applied
twice); the nominal form is an option.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones import ConvLayer, Layer
from lifelong.backbones.containers import ByName
from lifelong.transfer.glorot import glorot_uniform
from lifelong.transfer.layer import TransferLayer


class Unfolding(nn.Module):
    """M_{t,l}: deconvolution, mixing of its channels, bias.

    Attributes:
        kernel: V (s, s, u, z) of the deconvolution.
        offset: v (u,), its bias.
        mixing: Q (u, c_in, c_out).
        bias: (c_out,).
    """

    def __init__(self, outputs: int, inputs: int, latent: int, kernel: int, channels: int) -> None:
        super().__init__()
        self.kernel = glorot_uniform((kernel, kernel, channels, latent))
        self.offset = glorot_uniform((1, 1, 1, channels), shape=(channels,))
        self.mixing = glorot_uniform((channels, inputs, outputs))
        self.bias = glorot_uniform((outputs,))


class Latent(nn.Module):
    """What all tasks share: KB, (1, h, h, z)."""

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        self.latent = glorot_uniform((1, side, side, channels))


class DeconvolvedTransferLayer(TransferLayer):
    """S_l is a latent KB (h, h, z); D = deconvolution of KB, (k, k, u); W = sum_u D_u Q_u.

    Args:
        layer: a convolutional layer with kernel k = 2 h - 1.
        number: of the layer in the body.
        sizes: for each layer of the body (h, z, s, u): side and channels of the latent, kernel
            and channels of the deconvolution.
        slot_penalty: weight of the squared norm of KB, nominally 1e-7.
        mapping_penalty: weight of those of V, v and Q, nominally 1e-7.

    Raises:
        ValueError: no sizes for the layer, or sizes that give another kernel.
    """

    shared_params: Latent
    mapping: ByName[Unfolding]
    weighs_penalty = False

    def __init__(
        self,
        layer: Layer,
        number: int,
        sizes: Sequence[Sequence[int]] | None,
        slot_penalty: float = 0.0,
        mapping_penalty: float = 0.0,
    ) -> None:
        if not isinstance(layer, ConvLayer) or not sizes or number >= len(sizes):
            raise ValueError(
                f"deconvolution={sizes}: layer {number + 1} of the backbone needs a kernel and "
                "four numbers (h, z, s, u); give a list with an entry for each layer"
            )
        self.side, self.latent, self.kernel, self.channels = sizes[number]
        if 2 * self.side - 1 != layer.kernel or self.kernel % 2 == 0:
            raise ValueError(
                f"deconvolution={sizes}: layer {number + 1} has kernel {layer.kernel}, which needs "
                f"h = {(layer.kernel + 1) / 2:g} and an odd s; given are h = {self.side} and "
                f"s = {self.kernel}"
            )
        self.slot_penalty, self.mapping_penalty = slot_penalty, mapping_penalty
        super().__init__(layer, number)

    def make_shared(self) -> nn.Module:
        return Latent(self.side, self.latent)

    def make_mapping(self) -> nn.Module:
        outputs, inputs, _, _ = self.template.weight.shape
        return Unfolding(outputs, inputs, self.latent, self.kernel, self.channels)

    def shared_weight(self, task: int) -> tuple[Tensor, Tensor]:
        own, latent = self.mapping[str(task)], self.shared_params.latent
        d = F.conv_transpose2d(  # (1, z, h, h) -> (1, u, k, k)
            latent.permute(0, 3, 1, 2),
            own.kernel.permute(3, 2, 0, 1),
            own.offset,
            stride=2,
            padding=(self.kernel - 1) // 2,
        )
        k = d.shape[-1]
        inputs, outputs = own.mixing.shape[1:]
        weight = d.view(self.channels, k * k).T @ own.mixing.view(self.channels, -1)  # (k k, i o)
        weight = weight.view(k, k, inputs, outputs).permute(3, 2, 0, 1)
        return weight.contiguous(memory_format=torch.channels_last), own.bias

    def penalty(self, task: int) -> Tensor | None:
        """Squared norms halved, as TensorFlow's: of the latent, and of V, v and Q."""
        if not self.slot_penalty and not self.mapping_penalty:
            return None
        own = self.mapping[str(task)]
        mapped = sum(part.square().sum() for part in (own.kernel, own.offset, own.mixing))
        squared = self.shared_params.latent.square().sum()
        return 0.5 * (self.slot_penalty * squared + self.mapping_penalty * mapped)

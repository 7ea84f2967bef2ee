"""Tensor-factored sharing (TF): a shared core, turned into each task's weights by its factors.

The base learner of LASEM (ICML 2021), after Bulat et al., "Incremental Multi-Domain Learning with
Network Latent Tensor Factorization", AAAI 2020. As in LASEM's released program the factors are
full-size squares: there is no rank reduction, and each layer has a core of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lifelong.backbones import ConvLayer, Layer
from lifelong.backbones.containers import ByName
from lifelong.transfer.glorot import glorot_uniform
from lifelong.transfer.layer import TransferLayer


class Factors(nn.Module):
    """M_{t,l}: a square factor for each dimension of the kernel, and the bias.

    Attributes:
        row: U1 (k, k).
        column: U2 (k, k).
        inputs: U3 (c_in, c_in).
        outputs: U4 (c_out, c_out).
        bias: (c_out,).
    """

    def __init__(self, outputs: int, inputs: int, kernel: int) -> None:
        super().__init__()
        self.row = glorot_uniform((kernel, kernel))
        self.column = glorot_uniform((kernel, kernel))
        self.inputs = glorot_uniform((inputs, inputs))
        self.outputs = glorot_uniform((outputs, outputs))
        self.bias = glorot_uniform((outputs,))

    def factors(self) -> list[nn.Parameter]:
        return [self.row, self.column, self.inputs, self.outputs]


class Core(nn.Module):
    """What all tasks share: G, (k, k, c_in, c_out)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.core = glorot_uniform(shape)


class TensorFactoredTransferLayer(TransferLayer):
    """S_l is a core G (k, k, c_in, c_out) without bias; W = G x U1 x U2 x U3 x U4.

    Args:
        layer: a convolutional layer.
        number: of the layer in the body.
        orthogonality: beta, weight of the penalty that holds the factors orthogonal.

    Raises:
        ValueError: a layer of another kind.
    """

    shared_params: Core
    mapping: ByName[Factors]

    def __init__(self, layer: Layer, number: int, orthogonality: float = 0.1) -> None:
        if not isinstance(layer, ConvLayer):
            raise ValueError(
                f"backbone: layer {number + 1} is no convolution; tensor factors need "
                "kernels; give kind=hps, or a backbone such as conv4"
            )
        super().__init__(layer, number)
        self.orthogonality = orthogonality

    def make_shared(self) -> nn.Module:
        outputs, inputs, rows, columns = self.template.weight.shape
        return Core((rows, columns, inputs, outputs))

    def make_mapping(self) -> nn.Module:
        outputs, inputs, kernel, _ = self.template.weight.shape
        return Factors(outputs, inputs, kernel)

    def shared_weight(self, task: int) -> tuple[Tensor, Tensor]:
        own, core = self.mapping[str(task)], self.shared_params.core
        rows, columns, inputs, outputs = core.shape
        # One dimension after the other: the cost is that of four small matrix products.
        w = core.reshape(-1, outputs) @ own.outputs  # (k k i, o')
        w = w.view(rows * columns, inputs, outputs).transpose(1, 2) @ own.inputs  # (k k, o', i')
        w = w.view(rows, columns, -1).transpose(1, 2) @ own.column  # (k, o' i', k')
        w = w.permute(1, 2, 0) @ own.row  # (o' i', k2', k1')
        weight = w.view(outputs, inputs, columns, rows).transpose(2, 3)  # (o', i', k1', k2')
        return weight.contiguous(memory_format=torch.channels_last), own.bias

    def penalty(self, task: int) -> Tensor | None:
        """Beta times the sum over factors of || U^T U - I ||, Frobenius, not squared."""
        if not self.orthogonality:
            return None
        norms = [
            torch.linalg.matrix_norm(u.T @ u - torch.eye(len(u), device=u.device, dtype=u.dtype))
            for u in self.mapping[str(task)].factors()
        ]
        return self.orthogonality * torch.stack(norms).sum()

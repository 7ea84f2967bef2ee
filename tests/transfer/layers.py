"""A layer of tensor factors."""

from __future__ import annotations

from typing import Any

from lifelong.backbones import ConvLayer
from lifelong.transfer import TensorFactoredTransferLayer


def factored(outputs: int = 4, inputs: int = 3, **options: Any) -> TensorFactoredTransferLayer:
    layer = TensorFactoredTransferLayer(ConvLayer(inputs, outputs), 0, **options)
    layer.add_task(0, [True])
    return layer.double()

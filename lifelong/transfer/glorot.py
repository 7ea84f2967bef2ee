"""Initial values of slots and mappings, as TensorFlow's default initialiser draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn


def glorot_uniform(fans: Sequence[int], shape: Sequence[int] | None = None) -> nn.Parameter:
    """Uniform within +- sqrt(6 / (fan_in + fan_out)).

    In one dimension both fans are its length; else the last two dimensions are the inputs and
    outputs, each times the product of the others.

    Args:
        fans: the shape from which the fans are taken.
        shape: of the parameter, if it is another.
    """
    receptive = math.prod(fans[:-2])
    fan_in, fan_out = (fans[0], fans[0]) if len(fans) == 1 else fans[-2:]
    bound = math.sqrt(6 / (receptive * (fan_in + fan_out)))
    return nn.Parameter(torch.empty(*(shape or fans)).uniform_(-bound, bound))

"""Learning from what another network answers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def distillation(scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Mean over images of - sum_c p_c log q_c, p and q being the softened `wanted` and `scores`.

    Hinton et al. 2015, without the factor temperature^2.

    Args:
        scores: (b, k), that are learned.
        wanted: (b, k), of the teacher; with fewer columns, the last ones have probability 0.
        temperature: both are divided by it before the softmax.
    """
    probabilities = (wanted / temperature).softmax(1)
    new = scores.shape[1] - wanted.shape[1]
    return F.cross_entropy(scores / temperature, F.pad(probabilities, (0, new)))

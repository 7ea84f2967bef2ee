"""Which images of a task are its exemplars."""

from __future__ import annotations

import torch

from lifelong.parts.exemplars import herded


def test_herding_is_the_definition() -> None:
    features = torch.randn(20, 6, dtype=torch.double)
    mean, found = features.mean(0), list[int]()
    for number in range(1, 8):
        best = min(
            (row for row in range(20) if row not in found),
            key=lambda row: float(
                (mean - (features[found].sum(0) + features[row]) / number).norm()
            ),
        )
        found.append(best)
    assert herded(features, 7).tolist() == found

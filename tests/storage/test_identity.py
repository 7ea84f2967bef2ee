"""What tells objects apart that look alike."""

from __future__ import annotations

import copy
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from lifelong.data.transforms import Pad
from lifelong.storage.identity import identity


class Pooled(nn.Module):
    """By a word that neither its text nor its weights show."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how


def scaled(by: float) -> Any:
    return lambda x: x * by


PAIRS: list[tuple[Any, Any]] = [
    (Pooled("mean"), Pooled("max")),
    (Pad(1), Pad(2)),
    (v2.RandAugment(2), v2.RandAugment(3)),
    (scaled(1.0), scaled(2.0)),
    (partial(max, 1), partial(max, 2)),
    (torch.zeros(2), torch.zeros(1, 2)),
    (torch.zeros(2), torch.zeros(2).double()),
    (np.zeros(2), np.ones(2)),
    (np.array(["a"]), np.array(["b"])),
    (np.array([None, "a"]), np.array([None, "b"])),
    ([1, [2]], [[1], 2]),
    (["a", "b"], ["a;b"]),
    ({"a": 1}, {"a": 2}),
    (1, True),
    (nn.Linear, nn.Conv2d),
    (torch.relu, torch.sigmoid),
    (v2.InterpolationMode.NEAREST, v2.InterpolationMode.BILINEAR),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_what_differs_is_told_apart(one: Any, other: Any) -> None:
    assert identity(one) != identity(other)
    assert identity(one) == identity(copy.deepcopy(one)) == identity(one, start=0)


def test_neither_mode_nor_hooks_nor_order_of_sets_count() -> None:
    plain, hooked = Pooled("a"), Pooled("a").eval()
    hooked.register_forward_hook(lambda *_: None)
    assert identity(plain) == identity(hooked)
    assert identity({"a", "b"}) == identity({"b", "a"})


def test_objects_may_hold_one_another() -> None:
    one: list[Any] = [1]
    one.append(one)
    assert identity(one) != identity([1, [1]])


def test_it_is_that_of_another_process() -> None:
    program = (
        "from lifelong.storage.identity import identity; from torchvision.transforms import v2; "
        "print(identity(v2.Compose([v2.RandAugment()]), {'a', 'b', 'c'}))"
    )
    there = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={"PYTHONHASHSEED": "2"},
    )  # fmt: skip
    assert int(there.stdout) == identity(v2.Compose([v2.RandAugment()]), {"a", "b", "c"})

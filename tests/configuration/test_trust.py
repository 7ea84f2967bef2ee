"""What a configuration from a file may have built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lifelong.configuration.trust import allowed, check, targets


def test_names_are_found_at_any_depth() -> None:
    tree: dict[str, Any] = {
        "_target_": "a.A", "b": [{"_target_": "b.B", "c": ({"_target_": "c.C"}, 3)}, "_target_"],
        "d": {"e": None, "f": {"_target_": 5}},
    }  # fmt: skip
    assert list(targets(tree)) == ["a.A", "b.B", "c.C", "5"]
    assert list(targets("_target_")) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lifelong.strategies.EWC", True),
        ("torch.optim.Adam", True),
        ("torch.optim.lr_scheduler.StepLR", True),
        ("torch.nn.Linear", True),
        ("torchvision.models.resnet18", True),
        ("torchvision.transforms.v2.RandomCrop", True),
        ("torch.optim.adam.functools.partial", False),
        ("torch.nn.functional.relu", False),
        ("torch.nn.Nothing", False),
        ("torch.load", False),
        ("torchvision.models.resnet.torch.load", False),
        ("lifelong.strategies.EWC ", False),
        ("lifelong.data.sequence", True),  # of runs of 0.2.0 on `five_datasets`
        ("lifelong.data.sources.svhn", True),
        ("os.system", False),
        ("", False),
    ],
)
def test_classes_of_pytorch_are_allowed_and_little_else(name: str, expected: bool) -> None:
    assert allowed(name) == expected


def test_all_that_is_foreign_is_named_once(tmp_path: Path) -> None:
    tree = [{"_target_": name} for name in ("os.system", "my.Own", "os.system", "torch.nn.ReLU")]
    with pytest.raises(ValueError, match=r"would run my\.Own, os\.system, which is no part of"):
        check(tree, tmp_path)
    check(tree[-1:], tmp_path)

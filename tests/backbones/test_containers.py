"""Lists and dicts of modules that are all of one kind."""

from __future__ import annotations

import torch
from torch import nn

from lifelong.backbones.containers import ByName, ByNumber


def test_they_are_lists_and_dicts_of_torch() -> None:
    """Modules come back as they are, and their weights have the names that torch gives."""
    modules = [nn.Linear(2, width) for width in (1, 3)]
    named: ByName[nn.Linear] = ByName({"a": modules[0], "b": modules[1]})
    numbered: ByNumber[nn.Linear] = ByNumber(modules)
    assert named["b"] is numbered[1] is modules[1]
    assert named["b"].out_features == numbered[-1].out_features == 3
    assert list(named.state_dict()) == list(
        nn.ModuleDict(dict(zip("ab", modules, strict=True))).state_dict()
    )
    assert list(numbered.state_dict()) == list(nn.ModuleList(modules).state_dict())
    x = torch.randn(4, 2)
    assert torch.equal(named["a"](x), modules[0](x))
